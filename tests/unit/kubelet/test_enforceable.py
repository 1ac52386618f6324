"""What a node refuses because it could only pretend to enforce it."""

from typing import Any

import pytest

from kybern.api.core_v1 import AppArmorProfile, Container, PodSecurityContext, SeccompProfile, SecurityContext, Sysctl
from kybern.kubelet.enforceable import dotted, refuse_unenforceable
from kybern.kubelet.env import ConfigFault
from kybern.kubelet.names import hostname
from kybern.kubelet.security import security_context
from kybern.runtime.cri import Image


def asking(name: str) -> PodSecurityContext:
    return PodSecurityContext(sysctls=(Sysctl(name=name, value="1"),))


@pytest.mark.parametrize(
    ("name", "unsafe", "spec", "said"),
    [
        ("net.ipv4.ip_unprivileged_port_start", (), {}, None),
        ("net/ipv4/ip_unprivileged_port_start", (), {}, None),
        ("kernel.msgmax", (), {}, 'forbidden sysctl: "kernel.msgmax" not allowlisted'),
        ("kernel.msgmax", ("kernel.msg*",), {}, None),
        ("kernel.core_pattern", ("kernel.*",), {}, 'forbidden sysctl: "kernel.core_pattern" not allowlisted'),
        ("net/../kernel/core_pattern", (), {}, 'forbidden sysctl: "net....kernel.core_pattern" not allowlisted'),
        (
            "net.ipv4.tcp_syncookies",
            (),
            {"host_network": True},
            'forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled',
        ),
        (
            "kernel.shm_rmid_forced",
            (),
            {"host_ipc": True},
            'forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host ipc enabled',
        ),
    ],
)
def test_sysctls(lab: Any, name: str, unsafe: tuple[str, ...], spec: dict[str, Any], said: str | None) -> None:
    found = refuse_unenforceable(lab.pod("p", security_context=asking(name), **spec), unsafe, apparmor=False)
    if said is None:
        assert found is None
    else:
        assert found is not None and found.reason == "SysctlForbidden"
        assert found.message.replace("/", ".") == said


def test_the_first_mark_in_the_name_of_a_sysctl_is_what_separates() -> None:
    assert dotted("net/ipv4/conf/eth0.100/forwarding") == "net.ipv4.conf.eth0/100.forwarding"
    assert dotted("net.ipv4.conf.eth0/100.forwarding") == "net.ipv4.conf.eth0/100.forwarding"


@pytest.mark.parametrize(
    ("kind", "enabled", "privileged", "taken"),
    [
        ("Localhost", False, False, False),
        ("Localhost", True, False, True),
        ("RuntimeDefault", False, False, False),
        ("RuntimeDefault", True, False, False),
        ("Unconfined", False, False, True),
        ("Localhost", False, True, True),
    ],
)
def test_an_apparmor_profile_is_enforced_or_the_pod_refused(
    lab: Any, kind: str, enabled: bool, privileged: bool, taken: bool
) -> None:
    profile = AppArmorProfile(type=kind, localhost_profile="p" if kind == "Localhost" else None)
    context = SecurityContext(app_armor_profile=profile, privileged=privileged)
    pod = lab.pod("p", Container(name="c", image="i:1", security_context=context))
    found = refuse_unenforceable(pod, (), enabled)
    assert (found is None) == taken and (found is None or found.reason == "AppArmor")
    if taken and kind == "Localhost" and not privileged:
        assert security_context(pod, pod.spec.containers[0], Image(id="i"), "/s").apparmor.localhost_ref == "p"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", ""])
def test_a_seccomp_profile_is_not_looked_for_elsewhere(lab: Any, name: str) -> None:
    context = SecurityContext(seccomp_profile=SeccompProfile(type="Localhost", localhost_profile=name))
    pod = lab.pod("p", Container(name="c", image="i:1", security_context=context))
    with pytest.raises(ConfigFault):
        security_context(pod, pod.spec.containers[0], Image(id="i"), "/seccomp")


def test_a_pod_that_asks_too_much_is_failed_with_the_reason(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            cluster.api.bind(lab.pod("p", security_context=asking("kernel.msgmax")))
            await cluster.phase("p", "Failed")
            status = cluster.api.pod("p").status
            assert status.reason == "SysctlForbidden"
            assert status.message == 'Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted'

    lab.simulate(scenario)


def test_a_name_that_the_kernel_would_not_take_is_refused(lab: Any) -> None:
    pod = lab.pod("p", subdomain="s" * 40, hostname="h", set_hostname_as_fqdn=True)
    with pytest.raises(ValueError, match="is too long \\(64 characters is the max, 68 characters requested\\)"):
        hostname(pod, "cluster.local")
