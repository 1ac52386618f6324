"""`/logs/`: the machine's log files, and nothing else of the machine whoever wrote into the directory (H01)."""

import os
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from kybern.kubelet import system_logs
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.configuration import configured
from kybern.kubelet.server import KubeletServer
from kybern.kubelet.system_logs import system_log
from kybern.linux import beneath
from kybern.web.http import Peer, Request
from kybern.web.pki import create_ca, issue

NOW = 1_767_225_600.0
CONFIGURATION = """
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
enableSystemLogHandler: false
"""


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("canary")
    made = tmp_path / "log"
    (made / "apt").mkdir(parents=True)
    (made / "syslog").write_text("one\ntwo\n")
    (made / "apt" / "a&b<c>.log").write_text("x")
    (made / "latest").symlink_to("syslog")
    (made / "out").symlink_to("../secret")
    (made / "away").symlink_to(tmp_path)
    os.mkfifo(made / "pipe")
    return made


async def read(logs: Path, path: str) -> tuple[int, str]:
    found = system_log(path, str(logs))
    return found.status, (await found.read()).decode()


async def test_files_are_read_and_directories_listed(logs: Path) -> None:
    assert await read(logs, "syslog") == (200, "one\ntwo\n") == await read(logs, "latest")
    assert (await read(logs, "apt"))[0] == 301 and system_log("apt", str(logs)).headers["Location"] == "apt/"
    status, listing = await read(logs, "apt/")
    assert (status, listing) == (200, '<pre>\n<a href="a%26b%3Cc%3E.log">a&amp;b&lt;c&gt;.log</a>\n</pre>\n')
    assert '<a href="apt/">apt/</a>\n' in (await read(logs, ""))[1]
    assert system_log("syslog.gz", str(logs)).status == 404


async def test_no_path_and_no_link_leads_out_and_no_pipe_is_waited_for(logs: Path) -> None:
    for path in ("out", "../secret", "apt/../../secret", "away/secret", "away/", "pipe", "syslog/x", "a\0b", "x" * 300):
        status, text = await read(logs, path)
        assert status in (404, 200) and "canary" not in text and "secret" not in text, path
    assert {(await read(logs, path))[0] for path in ("out", "../secret", "pipe", "a\0b")} == {404}


async def test_the_links_lead_out_without_the_defence(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def followed(root: int, path: str) -> int:
        return os.open(path, os.O_PATH, dir_fd=root)

    monkeypatch.setattr(system_logs.beneath, "open_path", followed)
    assert (await read(logs, "out"))[1] == (await read(logs, "../secret"))[1] == "canary"
    assert beneath.open_path is followed


async def status(server: KubeletServer, path: str) -> int:
    pair = issue(create_ca("ca", NOW), "kube-apiserver-kubelet-client", now=NOW)
    certificate = x509.load_pem_x509_certificate(pair.certificate).public_bytes(Encoding.DER)
    return (await server(Request("GET", path, peer=Peer(certificate=certificate)))).status


def test_the_node_shows_its_logs_to_whoever_may_and_can_be_told_not_to(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            server = KubeletServer(cluster.kubelet)
            assert (await server(Request("GET", "/logs/"))).status == 401
            assert [await status(server, path) for path in ("/logs", "/logs/", "/logs/no-such-file")] == [200, 200, 404]
        set_off = configured(KubeletConfig(node_name="n"), CONFIGURATION).serves_system_logs
        async with lab.cluster(serves_system_logs=set_off) as cluster:
            assert await status(KubeletServer(cluster.kubelet), "/logs/") == 405

    lab.simulate(scenario)
