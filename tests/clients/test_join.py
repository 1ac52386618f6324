"""A second machine joins by token: own address, own data, own keys; packets, names and rights as on any node."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import KYBERN, until
from every_node import PODS
from machines import Part, two_machines

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Part, Part]]:
    place = tmp_path_factory.mktemp("join")
    with two_machines() as (here, there):
        one = Part(here, place / "one", place / "kubeconfig")
        other = Part(there, place / "other", place / "none")
        try:
            one.kybern(
                "up", "--port", "6443", "--node-name", "one", "--nodes", "2", "--advertise-address", here.address
            )
            yield one, other
        finally:
            other.kybern("reset", check=False)
            one.kybern("reset", check=False)


@pytest.fixture(scope="module")
def command(parts: tuple[Part, Part]) -> list[str]:
    """What `kybern token create` says is to be typed on the other machine."""
    return parts[0].kybern("token", "create", "--print-join-command").stdout.split()[2:]


@pytest.fixture(scope="module")
def joined(parts: tuple[Part, Part], command: list[str]) -> tuple[Part, Part]:
    """Typed twice at once: one of them waits, and is told that it is done."""
    one, other = parts
    words = [*KYBERN, "join", "--data-dir", str(other.data), *command, "--node-name", "two"]
    both = [subprocess.Popen(other.machine.inside(*words), stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = {join.communicate(timeout=60)[1]: join.returncode for join in both}
    assert sorted(said.values()) == [0, 1]
    assert any("is of a cluster already, and it is up" in text for text, code in said.items() if code)
    one.kubectl("apply", "-f", "-", stdin=PODS)
    until(lambda: one.kubectl("get", "pods", "-l", "app=web", "--no-headers").count("1/1") == 3)
    return parts


def pods(one: Part) -> dict[str, tuple[str, str]]:
    found = json.loads(one.kubectl("get", "pods", "-l", "app=web", "-o", "json"))["items"]
    return {pod["spec"]["nodeName"]: (pod["metadata"]["name"], pod["status"]["podIP"]) for pod in found}


def test_who_is_not_let_in_is_told_why_and_leaves_nothing(parts: tuple[Part, Part], command: list[str]) -> None:
    _, other = parts
    address, _, token, _, digest = command
    strange = f"sha256:{'0' * 64}"
    id_, _, secret = token.partition(".")
    for server, shown, pin, said in (
        (address, token, strange, f"the cluster's authority has the public key {digest}"),
        (address, f"{id_}.{secret[::-1]}", digest, f"is not signed with token {id_}"),
        (address, f"zzzzzz.{secret}", digest, "knows no token zzzzzz"),
        ("192.0.2.1:1", token, digest, "cannot be reached"),
    ):
        refused = other.kybern(
            "join", server, "--token", shown, "--discovery-token-ca-cert-hash", pin, "--node-name", "two", check=False
        )
        assert refused.returncode == 1 and said in refused.stderr and "Traceback" not in refused.stderr
    assert not (other.data / "cluster.json").exists() and not (other.data / "pki").exists()


def test_pods_of_both_machines_reach_each_other_with_their_own_addresses(joined: tuple[Part, Part]) -> None:
    one, _ = joined
    found = pods(one)
    assert set(found) == {"one", "one-2", "two"}
    for pod, address in found.values():
        code = f"""
import socket
for node, target in {[(node, ip) for node, (_, ip) in found.items()]}:
    c = socket.create_connection((target, 8080), 5); c.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
    print(node == c.makefile().read().split()[-1], c.getsockname()[0] == {address!r})
"""
        assert one.exec(pod, code).split() == ["True"] * 6
    for pod, _ in found.values():
        log = one.kubectl("logs", pod)
        assert all(any(line.startswith(f"{ip} ") for line in log.splitlines()) for _, ip in found.values())


def test_services_names_node_ports_and_the_api_server_are_reached_from_the_joined_machine(
    joined: tuple[Part, Part],
) -> None:
    one, _ = joined
    pod, _ = pods(one)["two"]
    ask = "import urllib.request as u; print(*{u.urlopen('http://web.default.svc.cluster.local/').read().decode().strip() for _ in range(40)})"
    assert set(one.exec(pod, ask).split()) == {"one", "one-2", "two"}
    api = "import ssl, urllib.request as u; t = ssl.create_default_context(cafile='/var/run/secrets/kubernetes.io/serviceaccount/ca.crt'); print(u.urlopen('https://kubernetes.default/readyz', context=t).status)"
    assert one.exec(pod, api) == "200"
    port = one.kubectl("get", "service", "web", "-o", "jsonpath={.spec.ports[0].nodePort}")
    look = f"import urllib.request as u; print(*{{u.urlopen(f'http://{{a}}:{port}/').read().decode().strip() for a in ('192.0.2.1', '192.0.2.2') for _ in range(20)}})"
    for part in joined:
        assert set(part.command("python3", "-c", look).stdout.split()) == {"one", "one-2", "two"}


def test_the_joined_machine_has_its_own_keys_and_only_a_nodes_rights(joined: tuple[Part, Part]) -> None:
    one, other = joined
    assert {path.name for path in (other.data / "pki").iterdir()} == {
        "ca.crt", "node-two.crt", "node-two.key", "kubelet-server.crt", "kubelet-server.key",
        "node-network-two.crt", "node-network-two.key",
    }  # fmt: skip
    pki = other.data / "pki"
    as_node = [
        "--kubeconfig", "/dev/null", "--server", "https://192.0.2.1:6443", "--certificate-authority", str(pki / "ca.crt"),
        "--client-certificate", str(pki / "node-two.crt"), "--client-key", str(pki / "node-two.key"),
    ]  # fmt: skip
    assert other.kubectl("get", "node", "two", *as_node)
    one.kubectl("create", "secret", "generic", "hidden", "--from-literal=a=b")
    for refused in (
        ("get", "secret", "hidden"), ("get", "secrets", "-A"), ("label", "node", "one", "a=b"),
        ("delete", "pod", pods(one)["one"][0]),
    ):  # fmt: skip
        assert "orbidden" in other.command("kubectl", *refused, *as_node, check=False).stderr


def test_tokens_are_listed_without_their_secrets_and_end_when_they_are_deleted(joined: tuple[Part, Part]) -> None:
    one, _ = joined
    token = one.kybern("token", "create", "--ttl", "1h", "--description", "for a test").stdout.strip()
    listed = one.kybern("token", "list").stdout
    assert token[:6] in listed and "0h59m" in listed and "for a test" in listed and token[7:] not in listed
    one.kybern("token", "delete", token)
    assert token[:6] not in one.kybern("token", "list").stdout
    until(lambda: token[:6] not in one.kubectl("get", "configmap", "cluster-info", "-n", "kube-public", "-o", "yaml"))


def test_the_joined_machine_goes_down_and_comes_back_and_leaves_nothing(joined: tuple[Part, Part]) -> None:
    one, other = joined
    assert "node is Ready" in other.kybern("status").stdout
    assert other.kybern("node", "add", check=False).returncode == 1
    other.kybern("down")
    left = other.command("sh", "-c", "ip -o link; ip route; nft list tables").stdout
    assert "ky" not in left and "10.1" not in left
    other.kybern("up")
    until(lambda: one.kubectl("get", "pods", "-l", "app=web", "--no-headers").count("1/1") == 3)
    other.kybern("reset")
    assert not other.data.exists()


def test_a_machine_joins_a_cluster_of_ipv6_alone(tmp_path: Path) -> None:
    with two_machines() as (here, there):
        one = Part(here, tmp_path / "one", tmp_path / "kubeconfig")
        other = Part(there, tmp_path / "other", tmp_path / "none")
        family = ("--ip-family", "ipv6", "--advertise-address")
        try:
            refused = one.kybern("up", *family, here.address, check=False)
            assert "the cluster is of ipv6 alone, and 192.0.2.1 is not" in refused.stderr
            one.kybern("up", "--port", "6443", "--node-name", "one", *family, here.address6)
            shown = one.kybern("token", "create", "--print-join-command").stdout.split()[2:]
            assert shown[0] == f"[{here.address6}]:6443"
            other.kybern("join", *shown, "--node-name", "two")
            one.kubectl("apply", "-f", "-", stdin=PODS.replace("http.server", "http.server -b ::"))
            until(lambda: one.kubectl("get", "pods", "-l", "app=web", "--no-headers").count("1/1") == 2)
            ask = "import urllib.request as u; print(*{u.urlopen('http://web/').read().decode().strip() for _ in range(30)})"
            for pod, address in pods(one).values():
                assert ":" in address and set(one.exec(pod, ask).split()) == {"one", "two"}
        finally:
            other.kybern("reset", check=False)
            one.kybern("reset", check=False)
