"""What a pod may not ask for to get out of it (rows of the escape catalogue that are decided by value): each is refused, and
works once the defence against it is taken away. Those that take a running container are in tests/linux.
"""

import os
import stat
from pathlib import Path

import pytest

from kybern.api.core_v1 import EndpointAddress
from kybern.api.discovery_v1 import Endpoint, EndpointSlice
from kybern.cmd import turns
from kybern.registry import endpoints
from kybern.runtime import machine, sandboxes, spec
from kybern.runtime.cri import (
    ContainerConfig,
    ContainerMetadata,
    PodSandboxConfig,
    RuntimeFault,
    SandboxMetadata,
    SecurityContext,
    SecurityProfile,
)
from kybern.runtime.warden import identity
from kybern.runtime.warden.owners import SetupError

WRAPS_TO_ROOT = str(2**32)
SANDBOX = PodSandboxConfig(metadata=SandboxMetadata(name="p", namespace="n", uid="u"), hostname="p")


@pytest.fixture
def container(tmp_path: Path) -> int:
    return os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)


def test_e29_a_user_that_wraps_around_to_root_is_refused(container: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2024-40635: the kernel takes 32 bits of it."""
    with pytest.raises(SetupError, match="must be in range"):
        identity.resolve_user(container, {"username": WRAPS_TO_ROOT})
    monkeypatch.setattr(identity, "ID_MAX", 2**64)
    assert identity.resolve_user(container, {"username": WRAPS_TO_ROOT}).uid & 0xFFFF_FFFF == 0


def test_e33_a_profile_that_is_not_there_never_means_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2023-2431: two defences, one behind the other; without both the container runs unconfined."""
    security = SecurityContext(seccomp=SecurityProfile("Localhost", str(tmp_path / "missing.json")))
    config = ContainerConfig(metadata=ContainerMetadata(name="c"), image="i", command=("sh",), security=security)
    around = spec.Surroundings(sandbox=SANDBOX, cgroup="/x")
    with pytest.raises(RuntimeFault, match="cannot load seccomp profile"):
        machine.localhost_profile(config)
    with pytest.raises(RuntimeFault, match="cannot load seccomp profile"):
        spec.container_spec(config, spec.ImageDefaults(), around)
    monkeypatch.setattr(spec, "seccomp", lambda security, held, around: around.seccomp)
    assert spec.container_spec(config, spec.ImageDefaults(), around)["linux"]["seccomp"] is None


@pytest.mark.parametrize("name", ["net/../kernel/core_pattern", "kernel.core_pattern", "kernel/core_pattern"])
def test_e34_a_sysctl_of_the_whole_machine_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for directory in ("net", "kernel"):
        (tmp_path / directory).mkdir()
    target = tmp_path / "kernel" / "core_pattern"
    target.write_text("core")
    monkeypatch.setattr(sandboxes, "SYSCTL_ROOT", tmp_path)
    with pytest.raises(OSError, match="not namespaced"):
        sandboxes.write_sysctl(name, "|/evil")
    assert target.read_text() == "core"
    monkeypatch.setattr(sandboxes, "is_namespaced", lambda path: True)
    sandboxes.write_sysctl(name, "|/evil")
    assert target.read_text() == "|/evil"


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "0.0.0.0", "::1", "::ffff:127.0.0.1", "fe80::1"])
def test_e36_a_service_that_leads_to_the_node_itself_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2021-25737: who may write endpoints would reach what listens on a node's loopback."""
    kind = "IPv6" if ":" in address else "IPv4"
    slice_ = EndpointSlice(address_type=kind, endpoints=(Endpoint(addresses=(address,)),))
    assert [error.field for error in endpoints.validate_slice(slice_)] == ["endpoints[0].addresses[0]"]
    assert list(endpoints.validate_address(EndpointAddress(ip=address), "a"))
    monkeypatch.setattr(endpoints, "ordinary_address", lambda at, address: ())
    assert list(endpoints.validate_slice(slice_)) == []
    assert list(endpoints.validate_address(EndpointAddress(ip=address), "a")) == []


def test_e40_a_run_directory_that_somebody_else_made_first_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chmod(tmp_path, 0o777)
    link = tmp_path / "run"
    link.symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        turns.Turn(link)
    monkeypatch.setattr(turns, "refuse_others", lambda directory: None)
    turns.Turn(link).close()
    assert (tmp_path / "turn").exists()


def test_e40_what_the_turn_makes_is_its_users_alone(tmp_path: Path) -> None:
    turns.Turn(tmp_path / "run").close()
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "run" / "turn").stat().st_mode) == 0o600
