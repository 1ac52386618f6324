"""The kubelet's own server: who may ask, and what is answered."""

import json
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from kybern.kubelet.server import KubeletServer, is_api_server
from kybern.web.http import Peer, Request, Response
from kybern.web.pki import Subject, create_ca, issue

NOW = 1_767_225_600.0


def certificate(subject: Subject) -> bytes:
    pair = issue(create_ca("ca", NOW), subject.common_name, organizations=subject.organizations, now=NOW)
    return x509.load_pem_x509_certificate(pair.certificate).public_bytes(Encoding.DER)


API_SERVER = Peer(certificate=certificate(Subject("kube-apiserver-kubelet-client")))
OTHER = Peer(certificate=certificate(Subject("system:node:n2", ("system:nodes",))))


async def ask(server: KubeletServer, path: str, query: str = "", peer: Peer = API_SERVER) -> Response:
    return await server(Request("GET", path, query, peer=peer))


def test_only_the_api_server_and_administrators_may_ask() -> None:
    assert is_api_server(Subject("kube-apiserver-kubelet-client"))
    assert is_api_server(Subject("me", ("system:masters",)))
    assert not is_api_server(Subject("system:node:n1", ("system:nodes",)))


def test_who_may_not_ask_learns_nothing(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            server = KubeletServer(cluster.kubelet)
            assert (await ask(server, "/pods", peer=Peer())).status == 401
            assert (await ask(server, "/pods", peer=OTHER)).status == 403
            assert (await ask(server, "/healthz", peer=Peer())).status == 200
            assert (await ask(server, "/nothing")).status == 404

    lab.simulate(scenario)


def test_pods_and_what_they_use_are_listed(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            cluster.api.bind(lab.pod())
            await cluster.phase("web-1", "Running")
            server = KubeletServer(cluster.kubelet)
            pods = json.loads(await (await ask(server, "/pods")).read())
            assert [item["metadata"]["name"] for item in pods["items"]] == ["web-1"]
            summary = json.loads(await (await ask(server, "/stats/summary")).read())
            assert summary["pods"][0]["podRef"]["name"] == "web-1"
            text = (await (await ask(server, "/metrics/resource")).read()).decode()
            assert 'container_memory_working_set_bytes{container="web",namespace="default",pod="web-1"} 0' in text

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
