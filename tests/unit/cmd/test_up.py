"""Options of `kybern up`: what is kept, and what a cluster that is up already says to others."""

import argparse
import io
from dataclasses import fields, replace
from pathlib import Path

import pytest

from kybern.cmd import config, up
from kybern.cmd.config import Cluster
from kybern.cmd.credentials import has_simulated_nodes
from kybern.cmd.progress import Progress

OTHERS = {
    "port": "7000", "bind_address": "0.0.0.0", "advertise_address": "192.0.2.1", "node_name": "other",
    "node_cpus": "2", "node_memory": "2Gi", "ip_family": "dual", "pod_network": "routes", "cni_conf_dir": "/elsewhere",
    "registry_port": "5000", "runtime": "unix:///run/x.sock", "service_proxy": "none", "simulated_nodes": "3",
    "simulated_config": "/a", "scheduler_config": "/b",
}  # fmt: skip


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    up.add_arguments(parser)
    return parser.parse_args(words)


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return replace(config.new(tmp_path, index=1), node_name="node-1")


def told(cluster: Cluster, *words: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    monkeypatch.setattr(up, "wait_and_tell", lambda cluster, progress: 0)
    said = io.StringIO()
    return up.already_up(cluster, parsed(*words), Progress(said)), said.getvalue()


def test_every_kept_option_is_a_setting_of_the_cluster() -> None:
    known = {each.name for each in fields(Cluster)}
    assert set(up.KEPT) <= known and set(up.KEPT) == {*OTHERS, "gateway_api"}


@pytest.mark.parametrize("name", up.KEPT)
def test_what_a_running_cluster_cannot_become_is_refused(
    cluster: Cluster, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [flag(name)] if name == "gateway_api" else [flag(name), OTHERS[name]]
    code, said = told(cluster, *words, monkeypatch=monkeypatch)
    assert code != 0 and flag(name).replace("--gateway", "--no-gateway") in said


def test_what_it_is_already_is_no_reason_to_refuse(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--node-name", "node-1", "--service-proxy", "nftables", "--no-gateway-api", "--port", str(cluster.port)]
    code, said = told(cluster, *words, monkeypatch=monkeypatch)
    assert code == 0 and "is up already" in said


def test_a_new_cluster_is_as_it_was_asked_for_and_keeps_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "routed_networks", list)
    words = ["--data-dir", str(tmp_path)]
    first = up.chosen(parsed(*words, "--service-proxy", "none", "--node-cpus", "500m"))
    assert (first.service_proxy, first.node_cpus) == ("none", "500m") and first.node_name
    config.save(replace(first, node_name="chosen"))
    again = up.chosen(parsed(*words, "--node-cpus", "2"))
    assert (again.service_proxy, again.node_cpus, again.node_name) == ("none", "2", "chosen")


def test_a_file_for_simulated_nodes_that_names_none_is_refused_unless_there_are_to_be_some(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("pods:\n- {runsSeconds: 1}\n")
    words = ("--data-dir", str(tmp_path / "data"), "--simulated-config", str(rules))
    with pytest.raises(ValueError, match=r"rules.yaml names no nodes: add them to it, or --simulated-nodes N"):
        up.check_files(up.chosen(parsed(*words)))
    up.check_files(up.chosen(parsed(*words, "--simulated-nodes", "3")))
    rules.write_text("nodes:\n- {name: gpu}\n")
    up.check_files(up.chosen(parsed(*words)))


def test_no_simulated_nodes_are_none_of_a_file_either(tmp_path: Path) -> None:
    data = ("--data-dir", str(tmp_path))
    config.save(up.chosen(parsed(*data, "--simulated-config", "/nodes.yaml")))
    assert has_simulated_nodes(up.chosen(parsed(*data)))
    assert not has_simulated_nodes(up.chosen(parsed(*data, "--simulated-nodes", "0")))
