"""Values survive the way through CRI's messages and back."""

from dataclasses import replace
from typing import Any

import pytest

from kybern.runtime import cri
from kybern.runtime.remote import values
from kybern.runtime.remote.mapping import Table, from_message, to_fields
from kybern.runtime.remote.messages import SIGNALS, message

SANDBOX = cri.PodSandboxConfig(
    metadata=cri.SandboxMetadata(name="web", namespace="default", uid="1-2", attempt=3),
    hostname="web",
    log_directory="/var/log/pods/x",
    dns=cri.DNSConfig(servers=("10.96.0.10",), searches=("a", "b"), options=("ndots:5",)),
    port_mappings=(cri.PortMapping(protocol="UDP", container_port=53, host_port=5353, host_ip="127.0.0.1"),),
    labels={"app": "web"},
    annotations={"a": "1"},
    cgroup_parent="/kybern/pod1",
    namespaces=cri.NamespaceOptions(
        network=cri.NamespaceMode.NODE, pid=cri.NamespaceMode.POD, user_namespace=cri.IdMapping(65536, 65536)
    ),
    sysctls={"net.core.somaxconn": "10"},
    privileged=True,
)
CONTAINER = cri.ContainerConfig(
    metadata=cri.ContainerMetadata(name="main", attempt=1),
    image="sha256:1",
    user_specified_image="busybox",
    command=("a",),
    args=("b", "c"),
    working_dir="/w",
    envs=(("A", "1"), ("B", "")),
    mounts=(
        cri.Mount(container_path="/d", host_path="/h", readonly=True, propagation=cri.Propagation.HOST_TO_CONTAINER),
        cri.Mount(container_path="/i", image="sha256:2", image_sub_path="x", readonly=True),
    ),
    devices=(cri.Device(container_path="/dev/x", host_path="/dev/null", permissions="rw"),),
    cdi_devices=("vendor.com/class=1",),
    labels={"l": "1"},
    annotations={"n": "2"},
    log_path="main/1.log",
    stdin=True,
    stdin_once=True,
    tty=True,
    stop_signal="SIGRTMIN+3",
    resources=cri.LinuxResources(
        cpu_period=1, cpu_quota=-1, cpu_shares=3, memory_limit_bytes=4, oom_score_adj=-5, cpuset_cpus="0-1",
        hugepage_limits={"2Mi": 6}, unified={"memory.high": "7"},
    ),
    security=cri.SecurityContext(
        add_capabilities=("NET_ADMIN",),
        drop_capabilities=("ALL",),
        run_as_user=0,
        supplemental_groups=(1, 2),
        supplemental_groups_policy="Strict",
        readonly_rootfs=True,
        no_new_privs=True,
        seccomp=cri.SecurityProfile("Localhost", "/profile.json"),
        masked_paths=("/proc/kcore",),
        readonly_paths=(),
        namespaces=cri.NamespaceOptions(pid=cri.NamespaceMode.TARGET, target_id="abc"),
    ),
)  # fmt: skip
STATUS = cri.ContainerStatus(
    id="c", sandbox_id="s", metadata=CONTAINER.metadata, labels={"l": "1"}, annotations={}, created_at=1.5, started_at=2.0,
    finished_at=3.25, state=cri.ContainerState.EXITED, exit_code=137, reason="OOMKilled", message="m", image="busybox",
    image_id="sha256:1", log_path="/l", resources=CONTAINER.resources, user=(1, 2, (3,)),
)  # fmt: skip


def through(table: Table, name: str, value: Any, **known: Any) -> Any:
    sent = message(name, **to_fields(table, value)).SerializeToString()
    received = message(name)
    received.ParseFromString(sent)
    return from_message(table, received, **known)


@pytest.mark.parametrize("value", [SANDBOX, cri.PodSandboxConfig(metadata=SANDBOX.metadata)])
def test_a_sandbox_is_asked_for_as_meant(value: cri.PodSandboxConfig) -> None:
    assert through(values.SANDBOX_CONFIG, "PodSandboxConfig", value) == value


def test_a_container_is_asked_for_as_meant() -> None:
    assert through(values.CONTAINER_CONFIG, "ContainerConfig", CONTAINER) == CONTAINER


def test_the_default_masks_are_said_in_full() -> None:
    """A runtime masks what it is told to, and nothing by itself."""
    plain = replace(CONTAINER, security=cri.SecurityContext())
    security = through(values.CONTAINER_CONFIG, "ContainerConfig", plain).security
    assert "/proc/kcore" in security.masked_paths and "/proc/sys" in security.readonly_paths


def test_a_status_is_told_as_it_is() -> None:
    assert through(values.CONTAINER_STATUS, "ContainerStatus", STATUS, sandbox_id="s") == STATUS
    plain = replace(STATUS, resources=None, user=None)
    assert through(values.CONTAINER_STATUS, "ContainerStatus", plain, sandbox_id="s") == plain


def test_images_stats_and_logins_survive() -> None:
    image = cri.Image(id="sha256:1", repo_tags=("a:1",), repo_digests=("a@sha256:2",), size_bytes=9, uid=0, pinned=True)
    assert through(values.IMAGE, "Image", image) == image
    stats = cri.ContainerStats(id="c", cpu_usage_core_ns=1, memory_working_set_bytes=2, memory_usage_bytes=3)
    assert through(values.STATS, "ContainerStats", stats) == stats
    auth = cri.AuthConfig(username="me", password="secret")
    assert through(values.AUTH, "AuthConfig", auth) == auth


def test_signals_have_upstreams_numbers() -> None:
    found = {name: SIGNALS.index(name) for name in ("SIGABRT", "SIGKILL", "SIGTERM", "SIGRTMIN", "SIGRTMIN+15")}
    assert found == {"SIGABRT": 1, "SIGKILL": 13, "SIGTERM": 23, "SIGRTMIN": 35, "SIGRTMIN+15": 50}
    assert (SIGNALS.index("SIGRTMAX-14"), SIGNALS.index("SIGRTMAX")) == (51, 65)


def test_what_a_newer_runtime_says_besides_is_unknown() -> None:
    made = message("ContainerStatus", id="c", state=9)
    assert from_message(values.CONTAINER_STATUS, made, sandbox_id="s").state is cri.ContainerState.UNKNOWN


@pytest.mark.parametrize(
    ("said", "profile"),
    [
        ({"seccomp_profile_path": "localhost//var/lib/p.json"}, cri.SecurityProfile("Localhost", "/var/lib/p.json")),
        ({"seccomp_profile_path": "runtime/default"}, cri.SecurityProfile("RuntimeDefault")),
        ({"seccomp_profile_path": "unconfined"}, cri.SecurityProfile("Unconfined")),
        ({"seccomp_profile_path": "unconfined", "seccomp": {"profile_type": 0}}, cri.SecurityProfile("RuntimeDefault")),
        ({}, cri.SecurityProfile("Unconfined")),
    ],
)
def test_a_profile_may_be_named_by_a_path_as_older_kubelets_do(
    said: dict[str, Any], profile: cri.SecurityProfile
) -> None:
    context = message("LinuxContainerSecurityContext", apparmor_profile="localhost/mine", **said)
    values.name_profiles(context)
    found = from_message(values.SECURITY, context)
    assert found.seccomp == profile
    assert found.apparmor == cri.SecurityProfile("Localhost", "mine")
