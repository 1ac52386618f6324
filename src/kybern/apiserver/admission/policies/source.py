"""The policies that there are, each with its bindings and its compiled expressions, by name.

A long policy is compiled aside, by the first request that it concerns: nobody else waits for it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kybern.apiserver.request import Objects
from kybern.registry.resource import is_large

if TYPE_CHECKING:
    from kybern.registry.policyprograms import Policy


@dataclass(slots=True)
class Bound:
    """A policy, and whom it is bound to."""

    policy: Any
    bindings: tuple[Any, ...]
    compiled: "Policy | None" = None
    """Made for the first request that it concerns."""

    @property
    def name(self) -> str:
        found: str = self.policy.metadata.name
        return found

    @property
    def fails_open(self) -> bool:
        return bool(self.policy.spec.failure_policy == "Ignore")

    async def program(self) -> "Policy":
        if self.compiled is not None:
            return self.compiled
        from kybern.cel.pace import aside  # with the engine, only where there is a policy

        found = await aside(self.made) if is_large(self.policy) else self.made()
        self.compiled = found
        return found

    def made(self, at_once: int | None = None) -> "Policy":
        """Who comes after another that waits finds what that one had made."""
        from kybern.registry.policyprograms import compile_policy

        if self.compiled is None:
            self.compiled = compile_policy(self.policy.spec)
        return self.compiled


class Policies:
    def __init__(self, objects: Objects, policy: type[Any], binding: type[Any]) -> None:
        self.objects, self.policy, self.binding = objects, policy, binding
        self.bound: tuple[Bound, ...] = ()
        objects.on_change(policy, lambda old, new: self.load())
        objects.on_change(binding, lambda old, new: self.load())
        self.load()

    def load(self) -> None:
        """Only what changed is compiled again. A policy that nothing binds is nobody's business."""
        before = {bound.name: bound for bound in self.bound}
        bindings: dict[str, list[Any]] = {}
        for binding in sorted(self.objects.list(self.binding), key=lambda each: each.metadata.name or ""):
            bindings.setdefault(binding.spec.policy_name or "", []).append(binding)
        policies = {policy.metadata.name or "": policy for policy in self.objects.list(self.policy)}
        self.bound = tuple(
            Bound(policies[name], tuple(bindings[name]), kept(before.get(name), policies[name]))
            for name in sorted(policies.keys() & bindings)
        )


def kept(before: Bound | None, policy: Any) -> "Policy | None":
    return before.compiled if before is not None and before.policy.spec == policy.spec else None
