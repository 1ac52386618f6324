"""What a DeviceTaintRule tells of itself is the last word: an answer that comes late is not lost. Who is looked at when what a
driver offers changes. Method: one pass, by hand."""

from collections import Counter
from collections.abc import Coroutine
from typing import Any, cast

from kybern.aio.ids import Ids
from kybern.api.codec import from_builtins
from kybern.api.resource_v1 import DeviceTaintRule, ResourceClaim, ResourceSlice
from kybern.client import Client, View
from kybern.controllers.devicetaintrules import EVERY_SECONDS, TYPE, device_taints, keep_only
from kybern.controllers.devicetaints import consumers_of_pool
from kybern.reconcile import After, Context, Key
from kybern.testing import virtual

NOW = 1767225600.0


class Empty:
    def list(self, of: type[Any]) -> list[Any]:
        return []


class Told:
    def __init__(self) -> None:
        self.conditions: list[dict[str, Any]] = []

    async def patch(self, of: type[Any], name: str, namespace: str, patch: dict[str, Any], **how: Any) -> None:
        self.conditions += patch["status"]["conditions"]


def rule(uid: str, *conditions: dict[str, Any]) -> DeviceTaintRule:
    given = {"name": uid, "uid": uid, "generation": 1}
    spec = {"taint": {"key": "worn", "effect": "NoExecute"}}
    return from_builtins(DeviceTaintRule, {"metadata": given, "spec": spec, "status": {"conditions": list(conditions)}})


def one_pass(told: Told, about: DeviceTaintRule, now: float) -> After | None:
    _, rules = device_taints()
    context = Context(now, Ids(), cast(Any, None))
    passing = rules.by(about, cast(View, Empty()), cast(Client, told), context)
    return virtual.run(cast(Coroutine[Any, Any, After | None], passing))


def test_a_rule_is_looked_at_again_until_nothing_new_is_told() -> None:
    told = Told()
    assert one_pass(told, rule("r"), NOW) == After(EVERY_SECONDS)
    assert [(one["type"], one["status"]) for one in told.conditions] == [(TYPE, "False")]
    assert one_pass(told, rule("r", told.conditions[0]), NOW + EVERY_SECONDS) is None
    assert len(told.conditions) == 1


def test_what_a_rule_that_is_gone_drove_away_is_forgotten() -> None:
    evicted = Counter({"gone": 3, "there": 2})
    keep_only(evicted, [rule("there"), rule("new")])
    assert evicted == {"there": 2}


def test_a_change_of_a_pool_concerns_who_has_devices_of_it() -> None:
    def claim(name: str, pool: str) -> ResourceClaim:
        devices = {"results": [{"request": "r", "driver": "d", "pool": pool, "device": "x"}]}
        status = {"allocation": {"devices": devices}, "reservedFor": [{"resource": "pods", "name": name, "uid": name}]}
        return from_builtins(ResourceClaim, {"metadata": {"name": name, "namespace": "a"}, "status": status})

    class Claims:
        def list(self, of: type[Any]) -> list[ResourceClaim]:
            return [claim("mine", "p"), claim("other", "q")]

    part = from_builtins(ResourceSlice, {"metadata": {"name": "s"}, "spec": {"driver": "d", "pool": {"name": "p"}}})
    assert list(consumers_of_pool(part, cast(View, Claims()))) == [Key("a", "mine")]
