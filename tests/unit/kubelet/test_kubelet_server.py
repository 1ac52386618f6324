"""The kubelet's own server: who may ask, and what is answered."""

import json
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from kybern.aio.clock import SystemClock
from kybern.kubelet.exposition import Sample, text_of
from kybern.kubelet.server import KubeletServer
from kybern.kubelet.summary import Rates
from kybern.web.http import Peer, Request, Response
from kybern.web.pki import Subject, create_ca, issue

NOW = 1_767_225_600.0


def certificate(subject: Subject) -> bytes:
    pair = issue(create_ca("ca", NOW), subject.common_name, organizations=subject.organizations, now=NOW)
    return x509.load_pem_x509_certificate(pair.certificate).public_bytes(Encoding.DER)


API_SERVER = Peer(certificate=certificate(Subject("kube-apiserver-kubelet-client")))
ADMINISTRATOR = Peer(certificate=certificate(Subject("me", ("system:masters",))))
OTHER = Peer(certificate=certificate(Subject("system:node:n2", ("system:nodes",))))


async def ask(server: KubeletServer, path: str, query: str = "", peer: Peer = API_SERVER) -> Response:
    return await server(Request("GET", path, query, peer=peer))


def with_token(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_who_may_not_ask_learns_nothing(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            server = KubeletServer(cluster.kubelet)
            assert (await ask(server, "/pods", peer=Peer())).status == 401
            assert (await ask(server, "/pods", peer=OTHER)).status == 403
            assert (await ask(server, "/pods", peer=ADMINISTRATOR)).status == 200
            assert (await ask(server, "/healthz", peer=Peer())).status == 200
            assert (await ask(server, "/nothing")).status == 404
            cluster.api.down = True
            for headers, status in ((with_token("good"), 401), ({}, 401)):
                assert (await server(Request("GET", "/pods", headers=headers))).status == status

    lab.simulate(scenario)


def test_the_api_server_decides_who_may_ask_what_and_the_finer_name_suffices(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            server = KubeletServer(cluster.kubelet)

            async def get(path: str, token: str = "good", method: str = "GET") -> int:
                return int((await server(Request(method, path, headers=with_token(token)))).status)

            assert await get("/pods", "bad") == 401
            assert await get("/pods") == 403
            cluster.api.may_get = {"metrics", "pods"}
            await cluster.kubelet.clock.sleep(31)  # refusals are believed for half a minute
            assert [await get(path) for path in ("/pods", "/metrics", "/metrics/resource")] == [200] * 3
            assert [await get(path) for path in ("/stats/summary", "/containerLogs/default/a/b")] == [403] * 2
            assert await get("/pods", method="POST") == 403
            cluster.api.may_get = {"proxy"}
            await cluster.kubelet.clock.sleep(31)
            assert [await get(path) for path in ("/runningpods", "/containerLogs/default/a/b")] == [200, 404]
            asked = [path for method, path in cluster.api.requests if path.endswith("reviews")]
            before = len(asked)
            assert await get("/runningpods") == 200
            assert len([path for _, path in cluster.api.requests if path.endswith("reviews")]) == before

    lab.simulate(scenario)


def test_pods_and_what_they_use_are_listed(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            cluster.api.bind(lab.pod())
            await cluster.phase("web-1", "Running")
            server = KubeletServer(cluster.kubelet)
            pods = json.loads(await (await ask(server, "/pods")).read())
            assert [item["metadata"]["name"] for item in pods["items"]] == ["web-1"]
            assert pods["items"][0]["status"]["phase"] == "Running"
            summary = json.loads(await (await ask(server, "/stats/summary")).read())
            assert summary["pods"][0]["podRef"]["name"] == "web-1"
            assert summary["node"]["memory"]["workingSetBytes"] > 0 and summary["node"]["fs"]["capacityBytes"] > 0
            text = (await (await ask(server, "/metrics/resource")).read()).decode()
            assert 'container_memory_working_set_bytes{container="web",namespace="default",pod="web-1"} 0' in text
            assert "node_cpu_usage_seconds_total " in text and 'pod_cpu_usage_seconds_total{namespace="default"' in text
            assert "kubelet_running_pods 1" in (await (await ask(server, "/metrics")).read()).decode()
            checkpoint = Request("POST", "/checkpoint/default/web-1/web", peer=API_SERVER)
            answer = await server(checkpoint)
            assert answer.status == 500 and b"does not support it" in await answer.read()

    lab.simulate(scenario)


def test_cpu_in_use_is_what_was_used_since_the_last_look() -> None:
    class Clock(SystemClock):
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    rates = Rates(clock)
    assert rates.of("a", 1_000_000_000) is None
    clock.now = 5.0
    assert rates.of("a", 2_000_000_000) is None, "too soon to tell"
    clock.now = 10.0
    assert rates.of("a", 6_000_000_000) == 500_000_000
    clock.now = 11.0
    assert rates.of("a", 9_000_000_000) == 500_000_000


def test_what_prometheus_reads_is_typed_sorted_and_escaped() -> None:
    samples = [Sample("b_total", 2, {"x": 'a"\\'}), Sample("a", 1.5), Sample("b_total", 3)]
    assert text_of(samples, 1.0) == (
        "# TYPE a gauge\na 1.5 1000\n# TYPE b_total counter\n" + r'b_total{x="a\"\\"} 2 1000' + "\nb_total 3 1000\n"
    )


def test_z_pages_tell_people_as_text_and_programs_as_what_they_ask_for_by_name(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            server = KubeletServer(cluster.kubelet)

            async def page(path: str, accept: str = "") -> tuple[int, str, bytes]:
                headers = {"accept": accept} if accept else {}
                found = await server(Request("GET", path, headers=headers, peer=API_SERVER))
                return found.status, found.headers["Content-Type"], await found.read()

            await cluster.kubelet.clock.sleep(3723)
            status, kind, text = await page("/statusz")
            assert (status, kind) == (200, "text/plain; charset=utf-8")
            assert text.startswith(b"\nkubelet statusz\nWarning: This endpoint is not meant to be machine parseable")
            assert b"\nUp: 1 hr 02 min 03 sec\n" in text and b"/statusz" in text
            assert await page("/statusz", "*/*") == (status, kind, text)
            status, kind, body = await page("/statusz", "application/json;v=v1beta1;g=config.k8s.io;as=Statusz")
            told = json.loads(body)
            assert (status, kind, told["kind"], told["apiVersion"], told["uptimeSeconds"]) == (
                200, "application/json", "Statusz", "config.k8s.io/v1beta1", 3723,
            )  # fmt: skip
            for unclear in ("application/json", "application/json;v=v9;g=config.k8s.io;as=Statusz", "text/html"):
                assert (await page("/statusz", unclear))[0] == 406
            assert b"\nkubelet flags\n" in (await page("/flagz"))[2]
            assert b"\nhostname-override=n1\n" in (await page("/flagz"))[2]
            flags = json.loads((await page("/flagz", "application/json;v=v1beta1;g=config.k8s.io;as=Flagz"))[2])
            assert flags["flags"]["hostname-override"] == "n1"
            cluster.api.may_get = {"statusz"}
            asked = [
                (await server(Request("GET", path, headers=with_token("good")))).status
                for path in ("/statusz", "/flagz", "/configz")
            ]
            assert asked == [200, 403, 403]

    lab.simulate(scenario)


def test_what_is_not_there_is_not_found(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            cluster.api.bind(lab.pod())
            await cluster.phase("web-1", "Running")
            server = KubeletServer(cluster.kubelet)
            for path, query, status in (
                ("/containerLogs/default/no/web", "", 404),
                ("/containerLogs/default/web-1/no", "", 400),
                ("/containerLogs/default/web-1/web", "previous=true", 400),
                ("/containerLogs/default/web-1/..%2F..%2Fetc%2Fpasswd", "", 400),
                ("/containerLogs/default/web-1/web", "tailLines=-1", 400),
                ("/exec/default/web-1/no", "command=sh", 404),
                ("/exec/default/web-1/web", "", 400),
                ("/portForward/default/web-1", "port=99999", 400),
            ):
                assert (await ask(server, path, query)).status == status, (path, query)

    lab.simulate(scenario)
