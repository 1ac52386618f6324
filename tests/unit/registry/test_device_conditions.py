"""What binding a pod to a device waits for: how much work it is to look at what somebody has written."""

from kybern.registry.devicetaints import validate_binding


class Counted(str):
    """Text that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)  # type: ignore[arg-type]

    __hash__ = str.__hash__


def test_long_lists_of_conditions_are_not_compared_each_with_each() -> None:
    ready, failed = (tuple(Counted(f"{side}{number}") for number in range(1_000)) for side in ("r", "f"))
    told = [error.reason for error in validate_binding(ready, failed, "here")]
    assert told == ["FieldValueTooMany"] * 2
    assert Counted.compared < 1_000
