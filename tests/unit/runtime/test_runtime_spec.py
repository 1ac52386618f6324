"""From CRI's values to an OCI spec."""

import json
from typing import Any

import pytest

from kybern.linux.capabilities import NAMES
from kybern.runtime.cri import (
    ContainerConfig,
    ContainerMetadata,
    DNSConfig,
    Mount,
    PodSandboxConfig,
    RuntimeFault,
    SandboxMetadata,
    SecurityContext,
    SecurityProfile,
)
from kybern.runtime.sandboxes import resolv_conf, write_sysctl
from kybern.runtime.spec import (
    DEFAULT_CAPABILITIES,
    ImageDefaults,
    Surroundings,
    arguments,
    capabilities,
    container_spec,
    environment,
    user,
)

SANDBOX = PodSandboxConfig(metadata=SandboxMetadata(name="p", namespace="d", uid="u"), hostname="p")
AROUND = Surroundings(
    sandbox=SANDBOX, cgroup="/pods/x", network_path="/n", ipc_path="/i", uts_path="/u", capabilities=frozenset(NAMES)
)


def config(**fields: Any) -> ContainerConfig:
    return ContainerConfig(metadata=ContainerMetadata(name="c"), image="i", **fields)


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        ((), (), ["entry", "cmd"]),
        ((), ("a",), ["entry", "a"]),
        (("c",), (), ["c"]),
        (("c",), ("a",), ["c", "a"]),
    ],
)
def test_command_and_args_replace_what_the_image_says(
    command: tuple[str, ...], args: tuple[str, ...], expected: list[str]
) -> None:
    assert arguments(config(command=command, args=args), ImageDefaults(entrypoint=("entry",), cmd=("cmd",))) == expected


def test_an_image_without_a_command_needs_one() -> None:
    with pytest.raises(RuntimeFault, match="no command specified"):
        arguments(config(), ImageDefaults())


def test_the_pods_variables_go_before_the_images() -> None:
    image = ImageDefaults(env=("PATH=/x", "A=1", "B=2"))
    assert environment(config(envs=(("A", "9"), ("C", "=3"))), image) == ["PATH=/x", "A=9", "B=2", "C==3"]


@pytest.mark.parametrize(
    ("security", "expected"),
    [
        (SecurityContext(), set(DEFAULT_CAPABILITIES)),
        (SecurityContext(drop_capabilities=("ALL",)), set()),
        (SecurityContext(drop_capabilities=("ALL",), add_capabilities=("NET_ADMIN",)), {"NET_ADMIN"}),
        (SecurityContext(drop_capabilities=("KILL",)), set(DEFAULT_CAPABILITIES) - {"KILL"}),
        (SecurityContext(add_capabilities=("CAP_SYS_TIME",)), {*DEFAULT_CAPABILITIES, "SYS_TIME"}),
        (SecurityContext(add_capabilities=("ALL",)), set(NAMES)),
        (SecurityContext(add_capabilities=("NONSENSE",)), set(DEFAULT_CAPABILITIES)),
        (SecurityContext(privileged=True), set(NAMES)),
    ],
)
def test_capabilities_are_added_and_dropped(security: SecurityContext, expected: set[str]) -> None:
    assert set(capabilities(security, frozenset(NAMES))) == expected


def test_seccomp_is_on_unless_it_is_turned_off() -> None:
    def filtered(**fields: Any) -> bool:
        return (
            container_spec(config(command=("x",), security=SecurityContext(**fields)), ImageDefaults(), AROUND)[
                "linux"
            ]["seccomp"]
            is not None
        )

    assert filtered()
    assert not filtered(privileged=True)
    assert not filtered(seccomp=SecurityProfile("Unconfined"))
    with pytest.raises(RuntimeFault, match="cannot load seccomp profile"):
        filtered(seccomp=SecurityProfile("Localhost", "/x"))


def test_a_spec_is_plain_json_and_joins_the_sandbox() -> None:
    spec = container_spec(config(command=("x",)), ImageDefaults(), AROUND)
    assert json.loads(json.dumps(spec)) == spec
    joined = {entry["type"]: entry.get("path") for entry in spec["linux"]["namespaces"]}
    assert joined == {"mount": None, "cgroup": None, "network": "/n", "ipc": "/i", "uts": "/u", "pid": None}


def test_outer_mounts_come_before_inner_ones() -> None:
    mounts = (Mount(container_path="/a/b/c", host_path="/1"), Mount(container_path="/a", host_path="/2"))
    spec = container_spec(config(command=("x",), mounts=mounts), ImageDefaults(), AROUND)
    assert [mount["destination"] for mount in spec["mounts"]][-2:] == ["/a", "/a/b/c"]


def test_the_security_contexts_user_goes_before_the_images() -> None:
    image = ImageDefaults(user="web:staff")
    assert user(SecurityContext(), image)["username"] == "web:staff"
    assert "username" not in user(SecurityContext(run_as_user=5), image)


def test_resolv_conf_is_written_from_the_pods_dns() -> None:
    dns = DNSConfig(servers=("10.96.0.10",), searches=("a.b", "c"), options=("ndots:5",))
    assert resolv_conf(dns) == "search a.b c\nnameserver 10.96.0.10\noptions ndots:5\n"


@pytest.mark.parametrize(
    "name",
    [
        "kernel.core_pattern",
        "net/../kernel/core_pattern",
        "kernel.",
        "vm.swappiness",
        "net..x",
        "net/",
        "/net/x",
        "fs.file-max",
    ],
)
def test_sysctls_outside_the_pods_namespaces_are_refused(name: str) -> None:
    with pytest.raises(OSError, match="not namespaced"):
        write_sysctl(name, "1")
