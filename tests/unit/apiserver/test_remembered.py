"""What the server remembers of requests, and must not: whoever asks may be nobody, and asks for something else each time."""

from typing import Any

import pytest

from kybern.aio.clock import SystemClock
from kybern.api.errors import NotAcceptable
from kybern.apiserver.flowcontrol.control import FlowControl
from kybern.apiserver.formats import ACCEPT_CHARS_MAX, negotiate, wishes
from kybern.apiserver.paths import PATH_CHARS_MAX, PATHS_KEPT_MAX, Paths
from kybern.apiserver.request import ANONYMOUS, Attributes


def test_long_paths_are_understood_and_forgotten() -> None:
    paths = Paths()
    for name in ("a" * 253, "a" * PATH_CHARS_MAX):
        found = paths.address(f"/api/v1/namespaces/x/pods/{name}")
        assert found is not None and found.name == name
    assert [len(path) <= PATH_CHARS_MAX for path in paths._known] == [True]


def test_of_short_paths_so_many_are_kept() -> None:
    paths = Paths()
    for number in range(PATHS_KEPT_MAX + 5):
        paths.address(f"/api/v1/nodes/{number}")
    assert len(paths._known) <= PATHS_KEPT_MAX


async def test_flows_of_long_paths_are_not_kept(api: Any) -> None:
    control = FlowControl(api.objects, SystemClock())
    for path in ("/healthz", "/" + "x" * PATH_CHARS_MAX):
        assert control.flow(Attributes(user=ANONYMOUS, verb="get", path=path)).schema
    assert len(control._flows) == 1


async def test_a_header_of_half_a_million_wishes_is_not_read(api: Any) -> None:
    """Neither for an answer nor, as everybody may have one of those, for a refusal."""
    before = wishes.cache_info().misses
    long = "application/x," * (ACCEPT_CHARS_MAX // 14 + 1)
    with pytest.raises(NotAcceptable):
        negotiate(long)
    assert (await api.get("/api/v1/nodes", accept=long)).status == 406
    assert (await api.get("/nowhere", accept=long)).status == 404
    assert (await api.get("/apis", accept=long)).status == 406
    assert wishes.cache_info().misses == before
    assert (await api.get("/api/v1/nodes", accept="application/x," * 100 + "*/*")).status == 200
