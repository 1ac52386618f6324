"""May somebody do something? Asked of the cluster's own authorizer, from within an expression.

    authorizer.group('apps').resource('deployments').namespace('default').name('web').check('delete').allowed()

The values carry the question as it grows; `check` asks it of the function that came with the authorizer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, ClassVar

from kybern.api import names
from kybern.cel import costs
from kybern.cel.errors import EvaluationError
from kybern.cel.functions import Library, Overload, member
from kybern.cel.types import BOOL, STRING, UNBOUNDED, Type, opaque
from kybern.cel.values import Opaque

AUTHORIZER_TYPE = opaque("kubernetes.authorization.Authorizer")
PATH_TYPE = opaque("kubernetes.authorization.PathCheck")
GROUP_TYPE = opaque("kubernetes.authorization.GroupCheck")
RESOURCE_TYPE = opaque("kubernetes.authorization.ResourceCheck")
DECISION_TYPE = opaque("kubernetes.authorization.Decision")


@dataclass(frozen=True)
class Decision(Opaque):
    cel_type: ClassVar[Type] = DECISION_TYPE
    allowed: bool
    reason: str = ""
    error: str = ""


Ask = Callable[[str, Mapping[str, str], tuple[str, str] | None], Decision]
"""(verb, what it is about, the service account that is asked about in the user's place)"""


@dataclass(frozen=True)
class Authorizer(Opaque):
    cel_type: ClassVar[Type] = AUTHORIZER_TYPE
    ask: Ask
    account: tuple[str, str] | None = None


@dataclass(frozen=True)
class Question(Opaque):
    authorizer: Authorizer
    about: Mapping[str, str] = field(default_factory=dict)

    def check(self, verb: str) -> Decision:
        return self.authorizer.ask(verb, self.about, self.authorizer.account)


class PathCheck(Question):
    cel_type: ClassVar[Type] = PATH_TYPE


class GroupCheck(Question):
    cel_type: ClassVar[Type] = GROUP_TYPE


class ResourceCheck(Question):
    cel_type: ClassVar[Type] = RESOURCE_TYPE


def path_check(authorizer: Authorizer, path: str) -> PathCheck:
    if not path.strip():
        raise EvaluationError("path must not be empty")
    return PathCheck(authorizer, {"path": path})


def service_account(authorizer: Authorizer, namespace: str, name: str) -> Authorizer:
    if any(True for _ in names.dns1123_subdomain(name)):
        raise EvaluationError("Invalid service account name")
    if any(True for _ in names.dns1123_label(namespace)):
        raise EvaluationError("Invalid service account namespace")
    return replace(authorizer, account=(namespace, name))


def resource_check(group: GroupCheck, resource: str) -> ResourceCheck:
    if not resource.strip():
        raise EvaluationError("resource must not be empty")
    return ResourceCheck(group.authorizer, {**group.about, "resource": resource})


def refined(key: str) -> Callable[[ResourceCheck, str], ResourceCheck]:
    return lambda check, value: ResourceCheck(check.authorizer, {**check.about, key: value})


def on_resource(name: str, key: str, cost: costs.Cost = costs.ONE) -> Overload:
    return member(name, (RESOURCE_TYPE, STRING), RESOURCE_TYPE, refined(key), cost)


def http_check(question: Any, verb: str) -> Decision:
    found: Decision = question.check(verb)
    return found


def selector_cost(length: int) -> int:
    """As many requirements as fit into the text, each parsed and kept."""
    if length >= UNBOUNDED:
        return UNBOUNDED
    return 10 + ceil(length / 2) * 50 + ceil(length * costs.TRAVERSAL)


CHECK = costs.fixed(350_000)
"""Two checks to an expression, not three: upstream's price."""
SELECTOR = costs.Cost(
    lambda args, result: selector_cost(len(args[1])),
    lambda sizes: (costs.Span(selector_cost(sizes[1].least), selector_cost(sizes[1].most)), None),
)
AUTHZ: Library = (
    member("path", (AUTHORIZER_TYPE, STRING), PATH_TYPE, path_check),
    member("group", (AUTHORIZER_TYPE, STRING), GROUP_TYPE, lambda found, group: GroupCheck(found, {"group": group})),
    member("serviceAccount", (AUTHORIZER_TYPE, STRING, STRING), AUTHORIZER_TYPE, service_account),
    member("resource", (GROUP_TYPE, STRING), RESOURCE_TYPE, resource_check),
    on_resource("subresource", "subresource"),
    on_resource("namespace", "namespace"),
    on_resource("name", "name"),
    on_resource("fieldSelector", "field_selector", SELECTOR),
    on_resource("labelSelector", "label_selector", SELECTOR),
    member("check", (PATH_TYPE, STRING), DECISION_TYPE, http_check, CHECK),
    member("check", (RESOURCE_TYPE, STRING), DECISION_TYPE, http_check, CHECK),
    member("errored", (DECISION_TYPE,), BOOL, lambda found: bool(found.error)),
    member("error", (DECISION_TYPE,), STRING, lambda found: found.error),
    member("allowed", (DECISION_TYPE,), BOOL, lambda found: found.allowed),
    member("reason", (DECISION_TYPE,), STRING, lambda found: found.reason),
)
