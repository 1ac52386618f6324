"""Expressions of users, evaluated so that nobody else waits for them.

    asking = Asking(user, authorizer)
    found = await asking.evaluated(lambda at_once: program.evaluate(values_of(versioned, asking), Budget(MAX, at_once)))

- What costs little is evaluated at once, what costs more in a thread (see `cel.pace`).
- What an expression asks the cluster's authorizer is answered from memory. Where that takes another server, or where the
  expression is in the thread, it is answered in between, and the expression begun anew: evaluating has no effects.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from kybern.aio.beside import TakesLong
from kybern.api.authorization_v1 import FieldSelectorAttributes, LabelSelectorAttributes
from kybern.apiserver.auth.authorizers import decided
from kybern.apiserver.auth.restrictions import fields_of, labels_of
from kybern.apiserver.request import Attributes, Authorizer, User
from kybern.cel.libraries.authz import Authorizer as CelAuthorizer
from kybern.cel.libraries.authz import Decision
from kybern.cel.pace import COST_AT_ONCE, Work, aside

T = TypeVar("T")

Account = tuple[str, str] | None


class Unanswered(Exception):
    """An expression asks the authorizer, who cannot say so at once."""

    def __init__(self, key: Any, attributes: Attributes) -> None:
        super().__init__()
        self.key, self.attributes = key, attributes


class Asking:
    def __init__(self, user: User, authorizer: Authorizer) -> None:
        self.user, self.authorizer = user, authorizer
        self.answers: dict[Any, Decision] = {}
        self.is_aside = False

    def cel_authorizer(self) -> CelAuthorizer:
        return CelAuthorizer(self.ask)

    def ask(self, verb: str, about: Mapping[str, str], account: Account) -> Decision:
        key = (verb, account, *sorted(about.items()))
        if key not in self.answers:
            attributes = attributes_of(self.user if account is None else account_of(*account), verb, about)
            # What the authorizer knows may change meanwhile: only the loop's own thread looks at it.
            decision = None if self.is_aside else self.authorizer.decide(attributes)
            if decision is None:
                raise Unanswered(key, attributes)
            self.answers[key] = Decision(decision.allowed, decision.reason)
        return self.answers[key]

    async def evaluated(self, work: Work[T]) -> T:
        """What `work` returns; it may be called again."""
        while True:
            try:
                return await aside(work) if self.is_aside else work(COST_AT_ONCE)
            except TakesLong:
                self.is_aside = True
            except Unanswered as question:
                decision = await decided(self.authorizer, question.attributes)
                self.answers[question.key] = Decision(decision.allowed, decision.reason)


def account_of(namespace: str, name: str) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(f"system:serviceaccount:{namespace}:{name}", groups)


def attributes_of(user: User, verb: str, about: Mapping[str, str]) -> Attributes:
    if "path" in about:
        return Attributes(user=user, verb=verb, path=about["path"])
    return Attributes(
        user=user,
        verb=verb,
        group=about.get("group", ""),
        version=about.get("version", "*"),
        resource=about.get("resource", ""),
        subresource=about.get("subresource", ""),
        namespace=about.get("namespace", ""),
        name=about.get("name", ""),
        fields=fields_of(FieldSelectorAttributes(raw_selector=about.get("field_selector"))),
        labels=labels_of(LabelSelectorAttributes(raw_selector=about.get("label_selector"))),
    )
