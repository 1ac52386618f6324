"""Several authorizers as one, asked in their order: the first that allows or denies decides.

Where none does, it is a no that tells the reasons of all. What those before the first remote one can decide is decided
from memory; the order may be another one from any moment on (`use`).
"""

from collections.abc import Sequence
from itertools import takewhile

from kybern.apiserver.request import Attributes, Authorizer, Decision, LocalAuthorizer, RemoteAuthorizer

Member = LocalAuthorizer | RemoteAuthorizer


class Authorizers:
    def __init__(self, members: Sequence[Member]) -> None:
        self.use(members)

    def use(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        self.at_once: tuple[LocalAuthorizer, ...] = tuple(takewhile(is_local, members))  # type: ignore[arg-type]

    @property
    def remote_count(self) -> int:
        return sum(not is_local(member) for member in self.members)

    def decide(self, attributes: Attributes) -> Decision | None:
        reasons: list[str] = []
        for member in self.at_once:
            decision = member.decide(attributes)
            if settles(decision, reasons):
                return decision
        return no_opinion(reasons) if len(self.at_once) == len(self.members) else None

    async def ask(self, attributes: Attributes) -> Decision:
        reasons: list[str] = []
        for member in self.members:
            if isinstance(member, RemoteAuthorizer):
                decision = await member.ask(attributes)
            else:
                decision = member.decide(attributes)
            if settles(decision, reasons):
                return decision
        return no_opinion(reasons)


def is_local(member: Member) -> bool:
    return not isinstance(member, RemoteAuthorizer)


def settles(decision: Decision, reasons: list[str]) -> bool:
    if decision.allowed or decision.denied:
        return True
    if decision.reason:
        reasons.append(decision.reason)
    return False


def no_opinion(reasons: list[str]) -> Decision:
    return Decision(False, ", ".join(reasons))


async def decided(authorizer: Authorizer, attributes: Attributes) -> Decision:
    return authorizer.decide(attributes) or await authorizer.ask(attributes)
