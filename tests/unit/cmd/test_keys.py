"""The keys of a cluster: made, replaced, and read as upstream's files are."""

import argparse
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from kybern.apiserver.auth.keys import keys_from_pem
from kybern.cmd import config, rotate, server_options
from kybern.cmd.config import Cluster
from kybern.cmd.credentials import former_keys, prepare
from kybern.cmd.encryption import EncryptionError, file_of, prepare_encryption, read, seal_from, seal_of
from kybern.cmd.option_check import wrong_with
from kybern.cmd.server import signing_keys
from kybern.cmd.server_options import NEW_CLUSTER, ServerOptions

NOW = 1_767_225_600.0


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    made = Cluster(
        id="abc", name="kybern-x", data_dir=str(tmp_path / "data"), run_dir=str(tmp_path / "run"), options=NEW_CLUSTER
    )
    made.pki.mkdir(parents=True)
    config.save(made)
    return made


def rotated(cluster: Cluster, what: str, forget: bool = False) -> int:
    return rotate.run(argparse.Namespace(data_dir=cluster.data, what=what, forget=forget))


def test_a_new_cluster_encrypts_its_secrets_with_a_key_that_only_its_owner_reads(cluster: Cluster) -> None:
    prepare_encryption(cluster)
    assert stat.S_IMODE(file_of(cluster).stat().st_mode) == 0o600
    seal = seal_of(cluster)
    assert (seal.prefixes, list(seal.secrets), seal.writes) == (("/registry/secrets/",), ["key1"], True)
    before = file_of(cluster).read_bytes()
    prepare_encryption(cluster)
    assert file_of(cluster).read_bytes() == before


def test_a_cluster_from_before_is_left_as_it_was(cluster: Cluster) -> None:
    older = config.replace(cluster, options=ServerOptions())
    prepare_encryption(older)
    assert not file_of(older).exists()
    assert not seal_of(older).secrets


def test_told_not_to_encrypt_it_still_reads_what_is(cluster: Cluster) -> None:
    prepare_encryption(cluster)
    seal = seal_of(config.replace(cluster, options=ServerOptions(encrypt_secrets=False)))
    assert (list(seal.secrets), seal.writes) == (["key1"], False)


def test_a_rotated_key_writes_and_its_predecessors_read(cluster: Cluster) -> None:
    prepare_encryption(cluster)
    assert [rotated(cluster, "encryption"), rotated(cluster, "encryption")] == [0, 0]
    seal = seal_of(cluster)
    assert list(seal.secrets) == ["key3", "key2", "key1"]
    assert len(set(seal.secrets.values())) == 3
    assert stat.S_IMODE(file_of(cluster).stat().st_mode) == 0o600


def test_where_nothing_is_encrypted_there_is_nothing_to_rotate(cluster: Cluster) -> None:
    assert rotated(cluster, "encryption") == 1


KEY = {"name": "k", "secret": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}


def configured(tmp_path: Path, **changes: Any) -> Any:
    entry = {"resources": ["secrets"], "providers": [{"aesgcm": {"keys": [KEY]}}, {"identity": {}}]} | changes
    text = {"kind": "EncryptionConfiguration", "apiVersion": "apiserver.config.k8s.io/v1", "resources": [entry]}
    (tmp_path / "e.json").write_text(json.dumps(text))
    return seal_from(read(tmp_path / "e.json"))


def test_other_resources_can_be_encrypted_as_well(tmp_path: Path) -> None:
    seal = configured(tmp_path, resources=["secrets", "configmaps", "deployments.apps"])
    assert seal.prefixes == ("/registry/secrets/", "/registry/configmaps/", "/registry/deployments/")
    assert len(configured(tmp_path, resources=["*.*"]).prefixes) > 40


def test_identity_before_a_key_writes_no_more(tmp_path: Path) -> None:
    assert not configured(tmp_path, providers=[{"identity": {}}, {"aesgcm": {"keys": [KEY]}}]).writes


@pytest.mark.parametrize(
    "changes",
    [
        {"resources": ["nothing"]},
        {"providers": [{"identity": {}}]},
        {"providers": [{"secretbox": {"keys": [KEY]}}]},
        {"providers": [{"aesgcm": {"keys": [KEY | {"secret": "c2hvcnQ="}]}}]},
        {"providers": [{"aesgcm": {"keys": [KEY | {"secret": "?"}]}}]},
        {"providers": [{"aesgcm": {"keys": [KEY | {"name": "a:b"}]}}]},
    ],
)
def test_a_configuration_that_cannot_be_followed_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(EncryptionError):
        configured(tmp_path, **changes)


def test_tokens_of_a_former_key_are_believed_until_it_is_forgotten(cluster: Cluster) -> None:
    prepare(cluster, NOW)
    first = signing_keys(cluster)
    rotated(cluster, "service-accounts")
    second = signing_keys(cluster)
    assert second.signing_id != first.signing_id
    assert set(second.verifying) == {first.signing_id, second.signing_id}
    assert stat.S_IMODE((cluster.pki / "sa.key").stat().st_mode) == 0o600
    rotated(cluster, "service-accounts", forget=True)
    third = signing_keys(cluster)
    assert set(third.verifying) == {third.signing_id}
    assert not former_keys(cluster.pki)
    assert keys_from_pem((cluster.pki / "sa.key").read_bytes()).signing_id == third.signing_id


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, ""),
        ({"audit_policy_file": "/nowhere"}, "/nowhere: no such file or directory"),
        ({"audit_log_path": "/tmp/x"}, "needs --audit-policy-file"),
        ({"oidc_issuer_url": "http://x"}, "not an https one"),
        ({"oidc_issuer_url": "https://x"}, "audience"),
        ({"oidc_issuer_url": "https://x", "oidc_client_id": "a", "oidc_signing_algs": "HS256"}, "unsupported signing"),
        ({"token_auth_file": "/nowhere"}, "/nowhere: no such file or directory"),
        ({"requestheader_client_ca_file": "/nowhere"}, "/nowhere: no such file or directory"),
        ({"enable_admission_plugins": "Nothing"}, 'plugin "Nothing" is unknown'),
        ({"authorization_webhook_config_file": "/nowhere"}, "no current context"),
        ({"admission_control_config_file": "/nowhere"}, "/nowhere: no such file or directory"),
    ],
)
def test_options_that_make_no_sense_are_told_before_anything_starts(
    cluster: Cluster, options: dict[str, Any], why: str
) -> None:
    found = wrong_with(config.replace(cluster, options=ServerOptions(**options)))
    assert why in found and bool(why) == bool(found)


def test_options_stay_as_they_were_until_they_are_given_again() -> None:
    parser = argparse.ArgumentParser()
    server_options.add_arguments(parser)
    first = server_options.chosen(parser.parse_args(["--oidc-client-id", "a", "--audit-log-path", "x"]), NEW_CLUSTER)
    assert (first.oidc_client_id, first.audit_log_path, first.encrypt_secrets) == ("a", str(Path("x").absolute()), True)
    second = server_options.chosen(parser.parse_args(["--no-encrypt-secrets", "--oidc-client-id", ""]), first)
    assert (second.oidc_client_id, second.audit_log_path, second.encrypt_secrets) == ("", first.audit_log_path, False)
