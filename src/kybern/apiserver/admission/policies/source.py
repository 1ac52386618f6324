"""The policies that there are, each with its bindings and its compiled expressions, by name."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kybern.apiserver.request import Objects

if TYPE_CHECKING:
    from kybern.registry.policyprograms import Policy


@dataclass(slots=True)
class Bound:
    """A policy, and whom it is bound to."""

    policy: Any
    compiled: "Policy"
    bindings: tuple[Any, ...]

    @property
    def name(self) -> str:
        found: str = self.policy.metadata.name
        return found

    @property
    def fails_open(self) -> bool:
        return bool(self.policy.spec.failure_policy == "Ignore")


class Policies:
    def __init__(self, objects: Objects, policy: type[Any], binding: type[Any]) -> None:
        self.objects, self.policy, self.binding = objects, policy, binding
        self.compiled: dict[str, tuple[Any, Policy]] = {}
        self.bound: tuple[Bound, ...] = ()
        objects.on_change(policy, lambda old, new: self.load())
        objects.on_change(binding, lambda old, new: self.load())
        self.load()

    def load(self) -> None:
        """Only what changed is compiled again. A policy that nothing binds is nobody's business."""
        bindings: dict[str, list[Any]] = {}
        for binding in sorted(self.objects.list(self.binding), key=lambda each: each.metadata.name or ""):
            bindings.setdefault(binding.spec.policy_name or "", []).append(binding)
        policies = {policy.metadata.name or "": policy for policy in self.objects.list(self.policy)}
        self.compiled = {name: self.kept(name, policies[name]) for name in policies if name in bindings}
        self.bound = tuple(
            Bound(policies[name], compiled, tuple(bindings[name]))
            for name, (_, compiled) in sorted(self.compiled.items())
        )

    def kept(self, name: str, policy: Any) -> tuple[Any, "Policy"]:
        from kybern.registry.policyprograms import compile_policy  # with the engine, only where there is a policy

        found = self.compiled.get(name)
        return found if found is not None and found[0] == policy.spec else (policy.spec, compile_policy(policy.spec))
