"""kubeconfig files."""

import os
from pathlib import Path

import pytest

from kybern.client.kubeconfig import KubeconfigError, default_paths, load, merge_context, read, remove_context

OTHER = """
apiVersion: v1
kind: Config
current-context: prod
clusters:
- name: prod
  cluster: {server: "https://prod:6443", certificate-authority: ca.pem, x-unknown: 1}
contexts:
- name: prod
  context: {cluster: prod, user: jane, namespace: shop}
users:
- name: jane
  user: {tokenFile: token}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_text("CA")
    (tmp_path / "token").write_text("secret\n")
    path = tmp_path / "config"
    path.write_text(OTHER)
    return path


def merge(path: Path, name: str = "kybern") -> None:
    merge_context(path, name, server="https://127.0.0.1:6443", ca=b"ca", certificate=b"crt", key=b"key")


def test_a_context_brings_its_cluster_and_user(path: Path) -> None:
    found = load(paths=[path])
    assert (found.name, found.server, found.namespace) == ("prod", "https://prod:6443", "shop")
    assert (found.ca, found.token) == (b"CA", "secret")


def test_a_new_context_becomes_current_and_the_others_stay(path: Path) -> None:
    merge(path)
    assert load(paths=[path]).key == b"key"
    assert load("prod", [path]).token == "secret"
    assert read(path)["clusters"][0]["cluster"]["x-unknown"] == 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_renewed_context_does_not_become_current_again(path: Path) -> None:
    merge(path)
    path.write_text(path.read_text().replace("current-context: kybern", "current-context: prod"))
    merge(path)
    assert read(path)["current-context"] == "prod"
    assert len(read(path)["contexts"]) == 2


def test_a_removed_context_is_gone_and_the_others_stay(path: Path) -> None:
    merge(path)
    remove_context(path, "kybern")
    assert load("prod", [path]).token == "secret"
    assert read(path)["current-context"] == ""
    with pytest.raises(KubeconfigError, match="no context 'kybern'"):
        load("kybern", [path])


def test_a_file_that_does_not_exist_is_made(tmp_path: Path) -> None:
    merge(tmp_path / "new" / "config")
    assert load(paths=[tmp_path / "new" / "config"]).certificate == b"crt"
    remove_context(tmp_path / "none", "kybern")
    assert not (tmp_path / "none").exists()


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    merge(link)
    assert link.is_symlink() and load("kybern", [path]).ca == b"ca"


def test_of_two_files_the_first_counts(path: Path, tmp_path: Path) -> None:
    merge(tmp_path / "first")
    assert load(paths=[tmp_path / "first", path]).name == "kybern"
    assert load("prod", [tmp_path / "first", path]).namespace == "shop"


def test_kubeconfig_names_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(["/a", "", "/b"]))
    assert default_paths() == [Path("/a"), Path("/b")]


@pytest.mark.parametrize("text", ["a: [", "[]", "clusters: 1", "users:\n- name: x\n"])
def test_what_is_no_kubeconfig_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad").write_text(text)
    with pytest.raises(KubeconfigError):
        load(paths=[tmp_path / "bad"])
