"""`kybern kubectl` against a server that is a function."""

import argparse
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kybern.cli.kubectl import apply, delete, describe, get, logs, main, scale
from kybern.cli.kubectl.columns import lines_of
from kybern.cli.kubectl.exec import exit_code
from kybern.cli.kubectl.manifests import objects_in
from kybern.cli.kubectl.session import CommandFailed, ServerRefused, Session
from kybern.cli.kubectl.targets import pod_named, selected_labels
from kybern.client.kubeconfig import Context
from kybern.web.http import Request, Response

CORE = {
    "groupVersion": "v1",
    "resources": [
        {
            "name": "pods",
            "singularName": "pod",
            "kind": "Pod",
            "namespaced": True,
            "shortNames": ["po"],
            "categories": ["all"],
            "verbs": ["list"],
        },
        {"name": "pods/log", "kind": "Pod", "namespaced": True, "verbs": ["get"]},
        {
            "name": "namespaces",
            "singularName": "namespace",
            "kind": "Namespace",
            "namespaced": False,
            "shortNames": ["ns"],
            "verbs": ["list"],
        },
    ],
}
APPS = {
    "groupVersion": "apps/v1",
    "resources": [
        {
            "name": "deployments",
            "singularName": "deployment",
            "kind": "Deployment",
            "namespaced": True,
            "shortNames": ["deploy"],
            "categories": ["all"],
            "verbs": ["list"],
        }
    ],
}
POD = {
    "metadata": {"name": "web-1", "namespace": "default", "uid": "u1", "resourceVersion": "5"},
    "status": {"phase": "Running"},
}
TABLE = {
    "kind": "Table",
    "metadata": {"resourceVersion": "9"},
    "columnDefinitions": [{"name": "Name"}, {"name": "Status"}, {"name": "IP", "priority": 1}],
    "rows": [{"cells": ["web-1", "Running", None], "object": {"metadata": {"name": "web-1", "namespace": "default"}}}],
}

Routes = dict[str, Any]


class Server:
    """Answers by `METHOD path`; keeps what it was asked."""

    def __init__(self, routes: Routes) -> None:
        self.routes = {
            "GET /api/v1": CORE,
            "GET /apis": {"groups": [{"preferredVersion": {"groupVersion": "apps/v1"}}]},
            "GET /apis/apps/v1": APPS,
            **routes,
        }
        self.asked: list[Request] = []

    async def send(self, request: Request) -> Response:
        self.asked.append(request)
        answer = self.routes.get(f"{request.method} {request.path}")
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Response):
            return answer
        if answer is None:
            status = {"kind": "Status", "reason": "NotFound", "message": f"{request.path} not found", "code": 404}
            return Response(404, {}, json.dumps(status).encode())
        return Response(200, {}, json.dumps(answer).encode())


def session_on(server: Server) -> Session:
    return Session(server, Context("c", "https://s"), "")  # type: ignore[arg-type]


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    main.add_arguments(parser)
    return parser.parse_args(words)


PODS = "/api/v1/namespaces/default/pods"


async def test_get_prints_the_servers_table(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server({f"GET {PODS}": TABLE})
    assert await get.run(session_on(server), arguments("get", "po")) == 0
    assert capsys.readouterr().out == "NAME    STATUS\nweb-1   Running\n"
    assert "as=Table" in server.asked[-1].headers["accept"]


async def test_wide_shows_all_columns_and_all_namespaces_one_more(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server({"GET /api/v1/pods": TABLE})
    await get.run(session_on(server), arguments("get", "pods", "-A", "-o", "wide", "-l", "app=web"))
    assert capsys.readouterr().out.splitlines() == [
        "NAMESPACE   NAME    STATUS    IP",
        "default     web-1   Running   <none>",
    ]
    assert server.asked[-1].params()["labelSelector"] == ["app=web"]


async def test_several_types_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server({f"GET {PODS}": TABLE, "GET /apis/apps/v1/namespaces/default/deployments": TABLE})
    await get.run(session_on(server), arguments("get", "all"))
    assert "pod/web-1" in (text := capsys.readouterr().out) and "deployment.apps/web-1" in text


async def test_a_list_comes_in_chunks(capsys: pytest.CaptureFixture[str]) -> None:
    def chunk(request: Request) -> Any:
        first = "continue" not in request.params()
        return {**TABLE, "metadata": {"continue": "c"} if first else {}, "rows": list(TABLE["rows"])}  # type: ignore[call-overload]

    await get.run(session_on(Server({f"GET {PODS}": chunk})), arguments("get", "pods", "-o", "name"))
    assert capsys.readouterr().out == "pod/web-1\npod/web-1\n"


async def test_yaml_of_one_object_and_json_of_several(capsys: pytest.CaptureFixture[str]) -> None:
    session = session_on(Server({f"GET {PODS}/web-1": POD, f"GET {PODS}": {"metadata": {}, "items": [POD]}}))
    await get.run(session, arguments("get", "pod/web-1", "-o", "yaml"))
    assert "phase: Running" in capsys.readouterr().out
    await get.run(session, arguments("get", "pods", "-o", "json"))
    shown = json.loads(capsys.readouterr().out)
    assert (shown["kind"], shown["items"][0]["kind"]) == ("List", "Pod")


async def test_nothing_found_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    session = session_on(Server({f"GET {PODS}": {**TABLE, "rows": []}}))
    assert await get.run(session, arguments("get", "pods")) == 0
    assert capsys.readouterr().err == "No resources found in default namespace.\n"
    assert await get.run(session, arguments("get", "pods", "gone")) == 1
    assert capsys.readouterr().err.startswith("Error from server (NotFound)")


async def test_watch_goes_on_with_what_changes(capsys: pytest.CaptureFixture[str]) -> None:
    changed = {**TABLE, "rows": [{"cells": ["web-1", "Gone", None], "object": {"metadata": {}}}]}
    lines = [json.dumps({"type": kind, "object": changed}).encode() + b"\n" for kind in ("MODIFIED", "BOOKMARK")]

    async def cut() -> AsyncIterator[bytes]:
        whole = b"".join(lines)
        yield whole[:10]
        yield whole[10:]

    def answer(request: Request) -> Any:
        return Response(200, {}, cut()) if "watch" in request.params() else TABLE

    await get.run(session_on(Server({f"GET {PODS}": answer})), arguments("get", "pods", "-w"))
    assert capsys.readouterr().out.splitlines()[-1] == "web-1   Gone"


async def test_an_unknown_type_is_one_clear_line() -> None:
    with pytest.raises(CommandFailed, match='doesn\'t have a resource type "ponies"'):
        await get.run(session_on(Server({})), arguments("get", "ponies"))


async def test_apply_says_what_became_of_each_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: new}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: web-1}\n"
        "---\napiVersion: v1\nkind: Pony\nmetadata: {name: p}\n"
    )
    server = Server({f"GET {PODS}/web-1": POD, f"PATCH {PODS}/web-1": POD, f"PATCH {PODS}/new": POD})
    assert await apply.run(session_on(server), arguments("apply", "-f", str(tmp_path))) == 1
    printed = capsys.readouterr()
    assert printed.out == "pod/new created\npod/web-1 unchanged\n"
    assert printed.err == 'error: no matches for kind "Pony" in version "v1"\n'
    patch = next(request for request in server.asked if request.method == "PATCH")
    assert patch.headers["content-type"] == "application/apply-patch+yaml"
    assert patch.params()["fieldManager"] == ["kubectl"]


async def test_delete_waits_until_the_object_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    looks = iter([POD, None])
    server = Server({f"DELETE {PODS}/web-1": POD, f"GET {PODS}/web-1": lambda _: next(looks)})
    assert await delete.run(session_on(server), arguments("delete", "pod", "web-1", "--now")) == 0
    assert capsys.readouterr().out == 'pod "web-1" deleted\n'
    body = next(json.loads(r.body) for r in server.asked if r.method == "DELETE")  # type: ignore[arg-type]
    assert (body["gracePeriodSeconds"], body["propagationPolicy"]) == (1, "Background")
    assert next(looks, "none left") == "none left"


async def test_delete_without_a_name_is_refused() -> None:
    with pytest.raises(CommandFailed, match="no name was specified"):
        await delete.run(session_on(Server({})), arguments("delete", "pods"))


async def test_scale_patches_the_scale(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/apis/apps/v1/namespaces/default/deployments/web/scale"
    server = Server({f"PATCH {path}": {}})
    assert await scale.run(session_on(server), arguments("scale", "deploy/web", "--replicas=3")) == 0
    assert json.loads(server.asked[-1].body) == {"spec": {"replicas": 3}}  # type: ignore[arg-type]
    assert capsys.readouterr().out == "deployment.apps/web scaled\n"


async def test_logs_of_a_deployment_are_those_of_a_running_pod(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    selector = {"spec": {"selector": {"matchLabels": {"app": "web"}}}}
    pods = {"items": [{"metadata": {"name": "old"}, "status": {}}, POD]}
    server = Server(
        {
            "GET /apis/apps/v1/namespaces/default/deployments/web": selector,
            f"GET {PODS}": pods,
            f"GET {PODS}/web-1/log": Response(200, {}, b"hello\n"),
        }
    )
    await logs.run(session_on(server), arguments("logs", "deploy/web", "--tail", "5", "-f"))
    assert capfdbinary.readouterr().out == b"hello\n"
    assert server.asked[-1].query == "follow=true&tailLines=5"


async def test_a_pod_may_be_named_with_its_type() -> None:
    session = session_on(Server({}))
    assert [await pod_named(session, "web-1"), await pod_named(session, "po/web-1")] == ["web-1", "web-1"]


def test_a_selector_is_that_of_a_workload_or_of_a_service() -> None:
    assert selected_labels({"spec": {"selector": {"matchLabels": {"a": "b"}}}}) == {"a": "b"}
    assert selected_labels({"spec": {"selector": {"a": "b"}}}) == {"a": "b"}
    assert selected_labels({"spec": {"selector": {"matchExpressions": []}}}) == {}


def failure(*causes: dict[str, str]) -> bytes:
    return json.dumps({"status": "Failure", "message": "lost", "details": {"causes": causes}}).encode()


def test_exec_ends_with_the_code_of_the_command() -> None:
    assert exit_code(b'{"status":"Success"}') == 0
    assert exit_code(failure({"reason": "ExitCode", "message": "7"})) == 7
    for status in (failure(), b""):
        with pytest.raises(CommandFailed):
            exit_code(status)


def test_exec_takes_what_follows_the_dashes_as_it_is() -> None:
    args = arguments("exec", "-it", "web", "-n", "shop", "--", "sh", "-c", "ls -l", "--", "x")
    assert (args.pod, args.stdin, args.tty, args.namespace) == ("web", True, True, "shop")
    assert args.remote_command == ["sh", "-c", "ls -l", "--", "x"]


async def test_describe_shows_the_object_and_its_events(capsys: pytest.CaptureFixture[str]) -> None:
    event = {
        "type": "Normal",
        "reason": "Started",
        "message": "Started container",
        "source": {"component": "kubelet"},
        "metadata": {},
    }
    server = Server({f"GET {PODS}/web-1": POD, "GET /api/v1/namespaces/default/events": {"items": [event]}})
    await describe.run(session_on(server), arguments("describe", "pod", "web-1"))
    text = capsys.readouterr().out
    assert text.startswith("Name:          web-1\nNamespace:     default\nLabels:        <none>\n")
    assert "Phase:       Running" in text or "Phase:         Running" in text
    assert "Normal   Started   <unknown>   kubelet   Started container" in text


def test_flags_for_all_commands_may_stand_in_front() -> None:
    assert arguments("-n", "shop", "get", "pods").namespace == "shop"
    assert arguments("get", "pods", "-n", "shop").namespace == "shop"


def test_labels_are_described_as_they_are_and_fields_in_words() -> None:
    lines = list(describe.tree("spec", {"selector": {"matchLabels": {"appName": "x"}}, "minReadySeconds": 5}, 0))
    assert [line.split(":")[0].strip() for line in lines] == [
        "Spec",
        "Selector",
        "Match Labels",
        "appName",
        "Min Ready Seconds",
    ]


def test_a_secret_is_described_by_its_sizes() -> None:
    obj = {"metadata": {"name": "s"}, "data": {"password": "c2VjcmV0"}}
    assert "  password:      6 bytes" in "\n".join(describe.page(obj, "Secret")).lower()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5s"), (119, "119s"), (192, "3m12s"), (900, "15m"), (7200, "120m"), (86400, "24h"), (200000, "2d")],
)
def test_ages_are_as_short_as_kubectls(seconds: int, text: str) -> None:
    now = datetime(2026, 1, 31, tzinfo=UTC)
    then = datetime.fromtimestamp(now.timestamp() - seconds, UTC)
    assert describe.since(then.strftime("%Y-%m-%dT%H:%M:%SZ"), now) == text


def test_later_rows_stand_below_the_earlier_ones() -> None:
    widths: list[int] = []
    assert lines_of(["A", "B"], [["long", "x"]], widths) == ["A      B", "long   x"]
    assert lines_of([], [["s", "y"]], widths) == ["s      y"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1", "error parsing"),
        ("a: 1", "apiVersion and kind"),
        ("apiVersion: v1\nkind: Pod", "metadata.name"),
        ("", "no objects"),
    ],
)
def test_a_bad_manifest_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(CommandFailed, match=message):
        objects_in([str(tmp_path)])


def test_lists_are_taken_apart(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(
        '{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}]}'
    )
    assert [obj["metadata"]["name"] for obj in objects_in([str(tmp_path / "x.json")])] == ["a"]


def test_a_missing_file_is_one_clear_line() -> None:
    with pytest.raises(CommandFailed, match='the path "nope" does not exist'):
        objects_in(["nope"])


def test_no_kubeconfig_and_no_server_are_one_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(arguments("get", "pods", "--kubeconfig", str(tmp_path / "none"))) == 1
    assert capsys.readouterr().err.startswith("error: no current context")
    (tmp_path / "config").write_text(
        "current-context: c\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\ncontexts: [{name: c, context: {cluster: c}}]\n"
    )
    assert main.run(arguments("get", "pods", "--kubeconfig", str(tmp_path / "config"))) == 1
    assert capsys.readouterr().err == "The connection to the server failed: 127.0.0.1:1: connection refused\n"


def test_a_refusal_names_its_reason() -> None:
    assert str(ServerRefused(403, "Forbidden", "no")) == "Error from server (Forbidden): no"
