"""z-pages: what a component says of itself to whoever looks into it, as text for people or, where asked, as an object.

    /statusz    since when it runs, and as which version
    /flagz      what it was started with

The text promises nothing to programs. The object is one of `config.k8s.io` and must be asked for by all of its name.
"""

import json
import platform
import time
from collections.abc import Mapping, Sequence
from typing import Any

GROUP, VERSIONS = "config.k8s.io", ("v1beta1", "v1alpha1")
TEXT, JSON = "text/plain; charset=utf-8", "application/json"
WARNING = (
    "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for"
    " debugging purposes only."
)
NOT_ACCEPTABLE = (406, "text/plain", b"media type not acceptable, must be: text/plain or a kind of config.k8s.io\n")

Page = tuple[int, str, bytes]
"""Status, media type, body."""


def statusz(component: str, version: str, started: float, now: float, paths: Sequence[str], accept: str) -> Page:
    up, implementation = max(int(now - started), 0), f"python{platform.python_version()}"
    minor = ".".join(version.lstrip("v").split(".")[:2])
    lines = {
        "Started": time.strftime("%a %b %e %H:%M:%S UTC %Y", time.gmtime(started)),
        "Up": f"{up // 3600} hr {up // 60 % 60:02d} min {up % 60:02d} sec",
        "Go version": implementation,
        "Binary version": version.lstrip("v"),
        "Emulation version": minor,
        "Paths": " ".join(paths),
    }
    told = {
        "startTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "uptimeSeconds": up,
        "goVersion": implementation,
        "binaryVersion": version.lstrip("v"),
        "emulationVersion": minor,
        "paths": list(paths),
    }
    return _page(component, "Statusz", f"{component} statusz", [f"{k}: {v}" for k, v in lines.items()], told, accept)


def flagz(component: str, flags: Mapping[str, str], accept: str) -> Page:
    lines = [f"{name}={flags[name]}" for name in sorted(flags)]
    return _page(component, "Flagz", f"{component} flags", lines, {"flags": dict(flags)}, accept)


def _page(component: str, kind: str, title: str, lines: Sequence[str], told: Mapping[str, Any], accept: str) -> Page:
    for wanted in accept.lower().split(",") if accept else ("*/*",):
        media_type, _, rest = wanted.strip().partition(";")
        if media_type.strip() in ("*/*", "text/*", "text/plain"):
            return 200, TEXT, "\n".join(("", title, WARNING, "", *lines, "")).encode()
        asked = dict(part.strip().partition("=")[::2] for part in rest.split(";"))
        version = asked.get("v", "")
        if media_type == JSON and (asked.get("g"), asked.get("as")) == (GROUP, kind.lower()) and version in VERSIONS:
            named = {"kind": kind, "apiVersion": f"{GROUP}/{version}", "metadata": {"name": component}}
            return 200, JSON, json.dumps({**named, **told}).encode()
    return NOT_ACCEPTABLE
