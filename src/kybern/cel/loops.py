"""The loops of macros. What a turn costs is what the calls cost that upstream makes of the macro."""

from collections.abc import Callable, Iterable
from typing import Any

from kybern.cel.errors import EvaluationError, no_such_overload
from kybern.cel.frame import Frame, Run
from kybern.cel.values import has_key, kind_of

Part = tuple[Run, int]
Turn = Callable[[Frame, Any], None]
"""Puts the element (or key, or both) into the loop's variables."""

TURN_COST = {"all": 3, "exists": 4}
ENDED_COST = {"all": 2, "exists": 3}
"""Of seeing that the other elements need not be looked at, where there are any."""
TAKEN_COST = {"filter": 13, "map": 12, "transformList": 12, "transformMap": 3, "transformMapEntry": 2, "exists_one": 2}
ONCE_COST = 2


def loop(kind: str, range_: Run, slots: tuple[int, ...], predicate: Part | None, transform: Part | None) -> Part:
    if predicate is not None and kind in TURN_COST:
        return decided(range_, slots, predicate, kind == "exists", TURN_COST[kind], ENDED_COST[kind]), 1
    if predicate is not None and kind == "exists_one":
        return once(range_, slots, predicate), ONCE_COST
    if predicate is None:
        predicate = (lambda frame: True), 0
    build, start = BUILDERS[kind]
    value = transform if transform is not None else (lambda frame: frame.slots[slots[0]], 0)
    return built(range_, slots, predicate, value, TAKEN_COST[kind], build, start), 1


def turns(found: Any, slots: tuple[int, ...]) -> Iterable[tuple[Any, Any]]:
    """(first variable, second variable): for one variable, both are the element or the key."""
    kind = kind_of(found)
    if kind not in ("list", "map"):
        raise no_such_overload()
    if len(slots) == 1:
        return ((each, each) for each in found)
    return enumerate(found) if kind == "list" else found.items()


def decided(
    range_: Run, slots: tuple[int, ...], predicate: Part, decisive: bool, turn_cost: int, ended_cost: int
) -> Run:
    """all and exists: one decisive element is enough, whatever becomes of the others."""
    test, cost = predicate
    cost += turn_cost
    first, last = slots[0], slots[-1]

    def run(frame: Frame) -> Any:
        error: EvaluationError | None = None
        own = frame.slots
        each = iter(turns(range_(frame), slots))
        for key, value in each:
            frame.left -= cost
            if frame.left < 0:
                frame.refill()
            own[first], own[last] = key, value
            try:
                found = test(frame)
            except EvaluationError as raised:
                error = error or raised
                continue
            if found is decisive:
                if next(each, None) is not None:
                    frame.spend(ended_cost)
                return decisive
            if found is not (not decisive):
                error = error or no_such_overload()
        if error is not None:
            raise error
        return not decisive

    return run


def once(range_: Run, slots: tuple[int, ...], predicate: Part) -> Run:
    test, cost = predicate
    first, last = slots[0], slots[-1]

    def run(frame: Frame) -> Any:
        count = 0
        for key, value in turns(range_(frame), slots):
            frame.spend(cost)
            frame.slots[first], frame.slots[last] = key, value
            found = test(frame)
            if found is True:
                count += 1
                frame.spend(TAKEN_COST["exists_one"])
            elif found is not False:
                raise no_such_overload()
        return count == 1

    return run


def built(
    range_: Run,
    slots: tuple[int, ...],
    predicate: Part,
    transform: Part,
    taken_cost: int,
    build: Callable[[Any, Any, Any], None],
    start: Callable[[], Any],
) -> Run:
    """filter, map and the transforms: a new list or map, turn by turn."""
    (test, test_cost), (value_of, value_cost) = predicate, transform
    first, last = slots[0], slots[-1]
    value_cost += taken_cost

    def run(frame: Frame) -> Any:
        result = start()
        for key, value in turns(range_(frame), slots):
            frame.slots[first], frame.slots[last] = key, value
            frame.spend(test_cost)
            found = test(frame)
            if found is True:
                frame.spend(value_cost)
                build(result, key, value_of(frame))
            elif found is not False:
                raise no_such_overload()
        return result

    return run


def add(result: list[Any], key: Any, value: Any) -> None:
    result.append(value)


def put(result: dict[Any, Any], key: Any, value: Any) -> None:
    result[key] = value


def merge(result: dict[Any, Any], key: Any, value: Any) -> None:
    if kind_of(value) != "map":
        raise no_such_overload()
    for each, inner in value.items():
        if has_key(result, each):
            raise EvaluationError(f"insert failed: key {each} already exists")
        result[each] = inner


BUILDERS: dict[str, tuple[Callable[[Any, Any, Any], None], Callable[[], Any]]] = {
    "filter": (add, list),
    "map": (add, list),
    "transformList": (add, list),
    "transformMap": (put, dict),
    "transformMapEntry": (merge, dict),
}
