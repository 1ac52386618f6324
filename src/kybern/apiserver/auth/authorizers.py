"""Several authorizers as one: the first that allows decides; the reasons of the others are told when none does."""

from collections.abc import Sequence
from dataclasses import dataclass

from kybern.apiserver.request import Attributes, Authorizer, Decision, RemoteAuthorizer


@dataclass(frozen=True, slots=True)
class FirstThatAllows:
    authorizers: Sequence[Authorizer]

    def decide(self, attributes: Attributes) -> Decision:
        reasons = []
        for authorizer in self.authorizers:
            decision = authorizer.decide(attributes)
            if decision.allowed:
                return decision
            if decision.reason:
                reasons.append(decision.reason)
        return Decision(False, ", ".join(reasons))


async def decided(authorizer: Authorizer, remote: RemoteAuthorizer | None, attributes: Attributes) -> Decision:
    """Ours first; another server, if there is one, about the rest."""
    decision = authorizer.decide(attributes)
    if decision.allowed or remote is None:
        return decision
    theirs = await remote.ask(attributes)
    return Decision(theirs.allowed, ", ".join(reason for reason in (decision.reason, theirs.reason) if reason))
