"""Row A6 of the attack lists: definitions and objects meant to hurt. Each is refused or served, and the server goes on."""

from typing import Any

import msgspec
import pytest
from custom_kinds import DEFINITIONS, condition, definition, looked_at, passes, version
from hostile_schemas import cases

WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
ANSWERS = (200, 201, 400, 413, 422)
CASES = cases()


@pytest.mark.parametrize(("name", "schema", "spec"), CASES, ids=[name for name, _, _ in CASES])
async def test_hostile_schemas_are_refused_or_served(api: Any, name: str, schema: Any, spec: Any) -> None:
    wanted = definition("widgets", "Widget", version(schema={"type": "object", "properties": {"spec": schema}}))
    made = await api.send("POST", DEFINITIONS, msgspec.json.encode(wanted), content_type="application/json")
    assert made.status in ANSWERS, made.message
    await passes()
    assert (await api.get("/openapi/v2", accept="application/json")).status == 200
    if made.status == 201:
        assert condition(await looked_at(api, "widgets.example.com"), "Established") == "True"
        head = b'{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"a"},"spec":'
        answer = await api.send(
            "POST", WIDGETS, head + msgspec.json.encode(spec) + b"}", content_type="application/json"
        )
        assert answer.status in ANSWERS, answer.message
        assert (await api.get(WIDGETS)).status == 200
    assert (await api.get("/api/v1/namespaces/default/configmaps")).status == 200
