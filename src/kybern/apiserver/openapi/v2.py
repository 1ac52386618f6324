"""OpenAPI 2 (Swagger): all of the API in one document."""

from collections.abc import Iterable
from typing import Any

from kybern.apiserver.openapi.definitions import V2
from kybern.apiserver.openapi.descriptions import Descriptions
from kybern.apiserver.openapi.operations import Operation, Parameter, operations
from kybern.apiserver.openapi.schemas import schemas
from kybern.registry.resource import Resource

Document = dict[str, Any]

PRODUCES = ["application/json", "application/yaml"]
TITLE = "Kubernetes"


def document(resources: Iterable[Resource], version: str) -> Document:
    served = list(resources)
    paths: dict[str, Document] = {}
    for operation in operations(served):
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "swagger": "2.0",
        "info": {"title": TITLE, "version": version},
        "paths": dict(sorted(paths.items())),
        "definitions": schemas(served, V2, Descriptions()),
    }


def _operation(operation: Operation) -> Document:
    parameters = [_parameter(parameter) for parameter in operation.parameters]
    if operation.body:
        schema = {"$ref": V2.reference + operation.body}
        parameters.insert(0, {"name": "body", "in": "body", "required": True, "schema": schema})
    answer: Document = {"description": "OK"}
    if operation.answer:
        answer["schema"] = {"$ref": V2.reference + operation.answer}
    responses = {"200": answer, "401": {"description": "Unauthorized"}}
    if operation.created:
        responses["201"] = {**answer, "description": "Created"}
    return {
        "operationId": operation.id,
        "tags": [operation.tag],
        "schemes": ["https"],
        "consumes": list(operation.consumes),
        "produces": PRODUCES,
        "parameters": parameters,
        "responses": dict(sorted(responses.items())),
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": operation.gvk,
    }


def _parameter(parameter: Parameter) -> Document:
    found: Document = {"name": parameter.name, "in": parameter.place, "type": parameter.type, "uniqueItems": True}
    if parameter.required:
        found["required"] = True
    found["description"] = parameter.description
    return found
