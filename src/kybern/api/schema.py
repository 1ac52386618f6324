"""The schema of a kind as a tree: what a decoded JSON object of it may hold, and how each part merges.

Strict decoding, strategic merge patch, server-side apply and OpenAPI walk dicts and lists with a `Node` beside them.
`of(Struct)` builds one from a generated type, each struct's fields only when somebody asks for them; a custom
resource's tree comes from its OpenAPI schema through the same constructor.
"""

import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from kybern.api.custom import is_custom
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.shape import NO_SHAPE, Quantity, Shape

Form = Literal["struct", "map", "list", "scalar", "any"]


class Node:
    """One place in an object. `fields` is what a struct has there, `items` what a list or a map holds."""

    __slots__ = (
        "_fields",
        "_key_defaults",
        "_make_fields",
        "always",
        "atomic",
        "default",
        "form",
        "items",
        "keeps_null",
        "keys",
        "open",
        "passes",
        "replaces",
        "scalar",
        "shape",
        "struct",
        "time",
    )

    def __init__(
        self,
        form: Form,
        *,
        shape: Shape = NO_SHAPE,
        items: "Node | None" = None,
        fields: Callable[[], Mapping[str, "Node"]] | None = None,
        struct: type[Any] | None = None,
        scalar: Any = None,
        open: bool = False,
        default: Any = None,
        keeps_null: bool = False,
    ) -> None:
        self.open = open
        """A struct that may have fields besides the ones that are known."""
        self.keeps_null = keeps_null
        """A map in which null is a value like others: a custom resource's schema can say so."""
        self.default = default
        """What a custom resource's schema fills in here; None: nothing."""
        self.form: Form = form
        self.shape = shape
        self.items = items
        self.struct = struct
        """The Struct, where there is one."""
        self.scalar = scalar
        """The annotation of a scalar: `str`, `Annotated[int, ...]`."""
        self.passes: Callable[[Any], bool] | None = None
        """A quick look that says of most values that they are of this form, with no field that is not known."""
        self.time = _time(scalar)
        """`second` or `micro` where it holds a time."""
        self.atomic = _is_atomic(form, shape)
        """Under server-side apply it has one owner, as a whole."""
        self.always = True
        """Every object of this kind has it, be it empty: a root, a spec, a required list."""
        self.keys = shape.map_keys
        self.replaces = "replace" in (shape.patch_strategy or "").split(",")
        self._make_fields = fields
        self._fields: Mapping[str, Node] | None = None
        self._key_defaults: Mapping[str, Any] | None = None

    @property
    def fields(self) -> Mapping[str, "Node"]:
        found = self._fields
        if found is None:
            found = self._fields = self._make_fields() if self._make_fields else {}
        return found

    def child(self, key: str) -> "Node":
        """What stands under a key of a struct or map; `ANY` where nothing is known."""
        if self.form == "struct":
            return self.fields.get(key, ANY)
        return self.items or ANY

    @property
    def item(self) -> "Node":
        return self.items or ANY

    @property
    def key_defaults(self) -> Mapping[str, Any]:
        """What a key of a keyed list is where an item does not say: for built-in lists, `protocol` alone."""
        found = self._key_defaults
        if found is None:
            item = self.item
            known = KEY_DEFAULTS if item.struct is not None else {}
            told = {name: item.child(name).default for name in self.keys}
            found = {name: known.get(name, default) for name, default in told.items()}
            found = self._key_defaults = {name: default for name, default in found.items() if default is not None}
        return found

    @property
    def merges_list(self) -> bool:
        """Strategic merge patch: a list that merges instead of being replaced."""
        return "merge" in (self.shape.patch_strategy or "").split(",")


def _is_atomic(form: Form, shape: Shape) -> bool:
    if form == "list":
        return shape.list_type not in ("set", "map")
    return form == "scalar" or shape.map_type == "atomic"


def _time(scalar: Any) -> Literal["", "second", "micro"]:
    for note in get_args(scalar)[1:] if get_origin(scalar) is Annotated else ():
        if isinstance(note, msgspec.Meta) and (note.extra or {}).get("format") == "date-time":
            return "micro" if (note.extra or {}).get("micro") else "second"
    return ""


KEY_DEFAULTS = {"protocol": "TCP"}

ANY = Node("any")
ANY.always = False
_ATOMIC_ITEM = Shape(map_type="atomic")


SCALAR_TYPES = (str, int, float, bool, Quantity)

_roots: dict[type[Any], Node] = {}
_fields_of: dict[type[Any], Mapping[str, Node]] = {}


def of(struct: type[Any]) -> Node:
    """The schema of a generated type, or of a custom one."""
    found = _roots.get(struct)
    if found is None:
        if is_custom(struct) and struct.node is not None:
            return struct.node
        found = _roots[struct] = _struct(struct, NO_SHAPE)
    return found


def _struct(struct: type[Any], shape: Shape) -> Node:
    return Node("struct", shape=shape, fields=lambda: _fields(struct), struct=struct)


def _fields(struct: type[Any]) -> Mapping[str, Node]:
    found = _fields_of.get(struct)
    if found is None:
        found = _fields_of[struct] = {field.encode_name: _field(field) for field in msgspec.structs.fields(struct)}
    return found


def _field(field: msgspec.structs.FieldInfo) -> Node:
    node = _node(field.type)
    node.always = field.default is not None
    return node


def _node(annotation: Any, shape: Shape = NO_SHAPE) -> Node:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *notes = get_args(annotation)
        found = next((note for note in notes if isinstance(note, Shape)), None)
        if inner in SCALAR_TYPES:
            return Node("scalar", shape=found or shape, scalar=annotation)
        return _node(inner, found or shape)
    if origin in (Union, types.UnionType):
        options = [option for option in get_args(annotation) if option is not types.NoneType]
        return _node(options[0], shape) if len(options) == 1 else Node("scalar", shape=shape, scalar=annotation)
    if origin is tuple:
        return Node("list", shape=shape, items=_node(get_args(annotation)[0], _of_items(shape)))
    if origin is not None:
        return Node("map", shape=shape, items=_node(get_args(annotation)[1]))
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return _struct(annotation, shape)
    if annotation in SCALAR_TYPES:
        return Node("scalar", shape=shape, scalar=annotation)
    return Node("any", shape=shape)


def _of_items(shape: Shape) -> Shape:
    return _ATOMIC_ITEM if shape.items_atomic else NO_SHAPE


# --- from OpenAPI -----------------------------------------------------------------------------------------------------


class PartialObjectMetadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What every object has."""

    kind: str = ""
    api_version: str = ""
    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)


SCALARS: Mapping[str, type[Any]] = {"string": str, "integer": int, "number": float, "boolean": bool}


def of_openapi(schema: Mapping[str, Any]) -> Node:
    """A part of a custom resource: a structural OpenAPI v3 schema, as JSON."""
    shape = Shape(
        list_type=schema.get("x-kubernetes-list-type"),
        map_keys=tuple(schema.get("x-kubernetes-list-map-keys", ())),
        map_type=schema.get("x-kubernetes-map-type"),
    )
    kind, default = str(schema.get("type", "")), schema.get("default")
    if schema.get("x-kubernetes-int-or-string"):
        return Node("scalar", shape=shape, scalar=int | str, default=default)
    if kind == "array":
        return Node("list", shape=shape, items=of_openapi(schema.get("items", {})))
    if kind in SCALARS:
        return Node("scalar", shape=shape, scalar=SCALARS[kind], default=default)
    values = schema.get("additionalProperties")
    if values and "properties" not in schema:
        if not isinstance(values, Mapping):
            return Node("map", shape=shape, items=ANY)
        return Node("map", shape=shape, items=of_openapi(values), keeps_null=bool(values.get("nullable")))
    keeps = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    if kind != "object" and "properties" not in schema:
        return Node("any", shape=shape)
    properties: Mapping[str, Any] = schema.get("properties", {})
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    if keeps and not properties and not embedded:
        return Node("map", shape=shape, items=ANY)
    return Node("struct", shape=shape, fields=lambda: _openapi_fields(properties, embedded), open=keeps)


def _openapi_fields(properties: Mapping[str, Any], embedded: bool) -> Mapping[str, Node]:
    found = {key: of_openapi(value) for key, value in properties.items()}
    for node in found.values():
        node.always = False
    return {**found, **of(PartialObjectMetadata).fields} if embedded else found


def of_custom_resource(schema: Mapping[str, Any]) -> Node:
    """The whole of a custom resource: its own schema, and the metadata that every object has."""
    whole = of_openapi({"type": "object", "properties": {}, **schema, "x-kubernetes-embedded-resource": True})
    make_fields(whole)
    return whole


def make_fields(node: Node) -> None:
    """Of all that is in it: made when they are first looked for, those of a large schema would take a whole request's time."""
    for part in (*node.fields.values(), node.items):
        if part is not None and part.struct is None:
            make_fields(part)
