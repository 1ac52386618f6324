"""A request to the API, understood: who asks, for what, and the seams between the layers.

Every layer has one signature, `async (ApiRequest) -> Response`; each is given the next one and calls it or not.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from msgspec import Struct, field

from kybern.api.selectors import FieldRequirement, Requirement
from kybern.apiserver.paths import Address
from kybern.registry.resource import Resource, Subresource
from kybern.web.http import Request, Response

T = TypeVar("T")


class User(Struct, frozen=True):
    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


class Attributes(Struct, frozen=True, kw_only=True):
    """What authorization decides on; upstream's attributes."""

    user: User
    verb: str
    """get list watch create update patch delete deletecollection, or the lower-case HTTP method for other paths."""
    path: str = ""
    """Only for requests that are not for a resource."""
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    fields: tuple[FieldRequirement, ...] = ()
    labels: tuple[Requirement, ...] = ()
    """What a list, watch or deletion of a collection is restricted to: some are allowed only a part of it."""

    @property
    def is_resource(self) -> bool:
        return bool(self.resource)


class ApiRequest(Struct, kw_only=True):
    http: Request
    user: User = ANONYMOUS
    attributes: Attributes
    params: Mapping[str, list[str]]
    address: Address | None = None
    """None for paths that are not for a resource."""
    resource: Resource | None = None
    subresource: Subresource | None = None
    authorizer: "Authorizer | None" = None
    """Who found that they may, and is asked again where the request turns out to need more than it seemed to."""
    warnings: list[str] = field(default_factory=list)
    """Each becomes a `Warning: 299` header."""
    flow_headers: Mapping[str, str] | None = None
    """Which flow schema and priority level it was handled under."""
    impersonator: User | None = None
    """Who it really is that acts as `user`."""
    audit: dict[str, str] = field(default_factory=dict)
    """Annotations for whoever reads the audit log."""
    on_answer: Callable[[Response], Response] | None = None
    """Called with the answer, whatever it is, before it goes out."""


Layer = Callable[[ApiRequest], Awaitable[Response]]


class Authenticator(Protocol):
    async def __call__(self, request: Request) -> User | None:
        """Who sent it; None when it carries no credentials of this sort. Unauthorized when they are wrong."""


class Decision(Struct, frozen=True):
    allowed: bool
    reason: str = ""
    denied: bool = False
    """Nobody else is to be asked. A mere no is none's opinion."""


class LocalAuthorizer(Protocol):
    def decide(self, attributes: Attributes) -> Decision:
        """From memory, in microseconds."""


@runtime_checkable
class RemoteAuthorizer(Protocol):
    """Somebody else who is asked."""

    async def ask(self, attributes: Attributes) -> Decision: ...


class Authorizer(Protocol):
    """All of them, one after the other."""

    def decide(self, attributes: Attributes) -> Decision | None:
        """From memory; None where it takes somebody else to say, see `ask`."""

    async def ask(self, attributes: Attributes) -> Decision: ...


class Reinvocation(Struct):
    """Mutating plugins are called once more when a webhook or policy has changed what they saw; never a third time."""

    round: int = 0
    wanted: bool = False
    called: "dict[str, Called]" = field(default_factory=dict)

    def of(self, plugin: str, obj: Any) -> "Called":
        """What a plugin with hooks or policies called in the round before, where the object has become this."""
        found = self.called.setdefault(plugin, Called(self))
        if self.round and obj is not found.left:
            found.require_former()
        return found


class Called(Struct):
    reinvocation: Reinvocation
    former: set[str] = field(default_factory=set)
    """Those that want to be called again when somebody changes the object after them."""
    required: set[str] = field(default_factory=set)
    """Those of them after whom somebody did."""
    left: Any = None
    """The object as this plugin left it."""

    def may_call(self, name: str) -> bool:
        return not self.reinvocation.round or name in self.required

    def changed(self) -> None:
        self.require_former()
        self.reinvocation.wanted = True

    def require_former(self) -> None:
        self.required |= self.former
        self.former.clear()


PATCH_ANNOTATION = "patch.webhook.admission.k8s.io"
"""Begins what is noted of webhooks' patches: for an audit log that shows what was sent, and no other."""


class Admission(Struct, kw_only=True):
    """What an admission plugin sees. Mutating plugins replace `object`."""

    user: User
    operation: str
    """CREATE, UPDATE, DELETE or CONNECT."""
    resource: Resource
    subresource: str
    namespace: str
    name: str
    object: Any
    """Typed; None for DELETE."""
    old: Any
    """Typed; None for CREATE."""
    dry_run: bool
    options: Any = None
    """How the writer asked (`options.Writing`), `DeleteOptions`, or a connection's query parameters."""
    warnings: list[str] = field(default_factory=list)
    audit: dict[str, str] = field(default_factory=dict)
    """Annotations for the audit log."""
    posted: Any = None
    """What a POST to a part of an object said (a Binding); `object` is what becomes of the whole."""
    internal: bool = False
    """The API server's own, which no webhook or policy of a user may hold up."""
    is_long: bool = False
    """The object is so large that others would notice what is done with the whole of it."""
    reinvocation: Reinvocation = field(default_factory=Reinvocation)


class AdmissionPlugin(Protocol):
    """One of upstream's admission plugins. Both calls raise Forbidden (or another ApiError) to refuse."""

    name: str

    @property
    def kinds(self) -> tuple[type[Any], ...]:
        """Of writes of these it is told; none: of all."""

    async def admit(self, admission: Admission) -> None:
        """May replace `admission.object`."""

    async def validate(self, admission: Admission) -> None: ...


@runtime_checkable
class ReservingPlugin(AdmissionPlugin, Protocol):
    """An admission plugin whose `admit` or `validate` sets something scarce aside: an address, a port, a quota's rest.

    After any call of them the machine calls exactly one of these, once for that Admission value, also when the two
    calls themselves raised. A write that is tried again after a conflict is admitted as a new Admission value, once the
    former one is settled.
    """

    def committed(self, admission: Admission) -> None:
        """The write is in the store, and `Objects.on_change` has told of it."""

    def abandoned(self, admission: Admission) -> None:
        """Nothing was written: refused, in conflict, failed, or a dry run."""


class Objects(Protocol):
    """The cluster as the API server's own parts see it: typed, from memory, never older than any answered write.

    Writes go through the registry's rules but not through authorization or webhooks.
    """

    def get(self, type: type[T], name: str, namespace: str = "") -> T | None: ...

    def list(self, type: type[T], namespace: str | None = None) -> Sequence[T]: ...

    async def listed(self, type: type[T], namespace: str) -> Sequence[T]:
        """The same where there may be so many that others need their turn meanwhile."""

    async def create(self, obj: T) -> T: ...

    async def update(self, obj: T) -> T: ...

    async def update_status(self, obj: T) -> T: ...

    async def delete(self, type: type[Any], name: str, namespace: str = "", *, uid: str = "") -> None: ...

    async def converted(self, obj: Any, is_of: Resource, wanted: Resource) -> Any:
        """The same object in another version of its kind."""

    def resources(self) -> Iterable[Resource]:
        """Everything that is served now, custom resources included."""

    def on_change(self, type: type[Any], call: Callable[[Any, Any], None], *, part: type[Any] | None = None) -> None:
        """`call(old, new)` for every committed change of this kind, in order; either is None. `part` is a Struct with
        the only fields that `call` looks at, where decoding whole objects would cost more than it is worth."""
