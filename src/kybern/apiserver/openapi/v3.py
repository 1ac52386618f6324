"""OpenAPI 3: one document for each group and version, and an index of them."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from kybern.api.custom import is_custom
from kybern.apiserver.discovery import by_version
from kybern.apiserver.openapi.definitions import V3
from kybern.apiserver.openapi.descriptions import Descriptions
from kybern.apiserver.openapi.operations import Operation, Parameter, operations
from kybern.apiserver.openapi.schemas import schemas
from kybern.apiserver.openapi.v2 import PRODUCES, TITLE
from kybern.registry.resource import Resource

Document = dict[str, Any]


def index(resources: Iterable[Resource], version: str) -> Document:
    """/openapi/v3: where each document is, with a hash that changes when the document does."""
    found = {path_of(*key): served for key, served in by_version(resources).items()}
    return {
        "paths": {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={fingerprint(served, version)}"}
            for path, served in found.items()
        }
    }


def path_of(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def fingerprint(resources: Iterable[Resource], version: str) -> str:
    """Says whether a document is still the same without building it: it follows from these names,
    the release, and the schemas of custom kinds."""
    names = [
        (
            resource.kind.kind,
            resource.kind.plural,
            resource.kind.verbs,
            tuple((p.name, p.verbs) for p in resource.subresources),
            (resource.kind.type.fingerprint, *resource.selectable) if is_custom(resource.kind.type) else (),
        )
        for resource in resources
    ]
    return sha256(repr((version, names)).encode()).hexdigest()[:32].upper()


def document(resources: Iterable[Resource], version: str) -> Document:
    served = list(resources)
    paths: dict[str, Document] = {}
    for operation in operations(served):
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.0.0",
        "info": {"title": TITLE, "version": version},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": schemas(served, V3, Descriptions())},
    }


def _operation(operation: Operation) -> Document:
    found: Document = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "parameters": [_parameter(parameter) for parameter in operation.parameters],
        "responses": _responses(operation),
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": operation.gvk,
    }
    if operation.body:
        schema = {"schema": {"$ref": V3.reference + operation.body}}
        found["requestBody"] = {"content": dict.fromkeys(operation.consumes, schema), "required": True}
    return found


def _responses(operation: Operation) -> Document:
    answer: Document = {"description": "OK"}
    if operation.answer:
        schema = {"schema": {"$ref": V3.reference + operation.answer}}
        answer["content"] = dict.fromkeys(PRODUCES, schema)
    found = {"200": answer, "401": {"description": "Unauthorized"}}
    if operation.created:
        found["201"] = {**answer, "description": "Created"}
    return dict(sorted(found.items()))


def _parameter(parameter: Parameter) -> Document:
    found: Document = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "schema": {"type": parameter.type, "uniqueItems": True},
    }
    if parameter.required:
        found["required"] = True
    return found
