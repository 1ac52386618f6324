"""PodSecurity: the standards at every version, the labels of namespaces, and what a configuration says."""

from collections.abc import Mapping
from typing import Any

import pytest
from plugins import Clock, asked, plugin

from kybern.api.apps_v1 import Deployment
from kybern.api.batch_v1 import CronJob
from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Namespace, Pod, PodTemplate, ReplicationController
from kybern.api.errors import Forbidden, Invalid
from kybern.apiserver.admission.podsecurity.baseline import BASELINE
from kybern.apiserver.admission.podsecurity.configuration import configured
from kybern.apiserver.admission.podsecurity.policy import NEWEST_MINOR, Standard
from kybern.apiserver.admission.podsecurity.restricted import RESTRICTED
from kybern.apiserver.admission.podsecurity.standards import checks, violations

PREFIX = "pod-security.kubernetes.io/"
HARDENED = {
    "runAsNonRoot": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip


def pod(name: str = "web", /, annotations: Mapping[str, str] | None = None, context: Any = None, **spec: Any) -> Pod:
    container = {"name": "c", "image": "i", **spec.pop("container", {})}
    if context is not None:
        container["securityContext"] = context
    owner = spec.pop("owner", None)
    owners = (
        [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": owner, "controller": True}]
        if owner
        else []
    )
    metadata = {"name": name, "namespace": "x", "annotations": annotations or {}, "ownerReferences": owners}
    return from_builtins(Pod, {"metadata": metadata, "spec": {"containers": [container], **spec}})


def namespace(name: str = "x", /, **labels: str) -> Namespace:
    said = {PREFIX + key.replace("_", "-"): value for key, value in labels.items()}
    return from_builtins(Namespace, {"metadata": {"name": name, "labels": said}})


def wrong(level: str, minor: int, one: Pod) -> str:
    found = violations(Standard(level, f"v1.{minor}"), one.spec, one.metadata.annotations or {})
    return ", ".join(map(str, found))


UNCONFINED = {"seccompProfile": {"type": "Unconfined"}}
OLD_SECCOMP = {"container.seccomp.security.alpha.kubernetes.io/c": "unconfined"}
PROBED = {"livenessProbe": {"httpGet": {"port": 80, "host": "h"}}}
IN_NAMESPACE = {"hostUsers": False}
WINDOWS = {"os": {"name": "windows"}}


def with_sysctl(name: str) -> Pod:
    return pod(securityContext={"sysctls": [{"name": name, "value": "1"}]})


# level, the last version without, the pod, what is told from the next version on
STRICTER = [
    ("restricted", 7, pod(context={**HARDENED, "allowPrivilegeEscalation": True}), 'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false)'),
    ("restricted", 18, pod(context={**HARDENED, "seccompProfile": None}), 'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'),
    ("baseline", 18, pod(context=UNCONFINED), 'seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")'),
    ("restricted", 21, pod(context={**HARDENED, "capabilities": {"drop": ["MKNOD"], "add": ["CHOWN"]}}), 'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]; container "c" must not include "CHOWN" in securityContext.capabilities.add)'),
    ("restricted", 22, pod(context={**HARDENED, "runAsUser": 0}), 'runAsUser=0 (container "c" must not set runAsUser=0)'),
    ("baseline", 33, pod(container=PROBED), 'probe or lifecycle host (container "c" uses probe or lifecycle host "h")'),
]  # fmt: skip
# level, the last version that minds, the pod
LOOSER = [
    ("baseline", 18, pod(annotations=OLD_SECCOMP)),
    ("restricted", 24, pod(context={"runAsNonRoot": True}, **WINDOWS)),
    ("baseline", 26, with_sysctl("net.ipv4.ip_local_reserved_ports")),
    ("baseline", 28, with_sysctl("net.ipv4.tcp_fin_timeout")),
    ("baseline", 30, pod(securityContext={"seLinuxOptions": {"type": "container_engine_t"}})),
    ("baseline", 31, with_sysctl("net.ipv4.tcp_rmem")),
    ("baseline", 34, pod(context={"procMount": "Unmasked"}, **IN_NAMESPACE)),
    ("restricted", 34, pod(context={**HARDENED, "runAsNonRoot": False}, **IN_NAMESPACE)),
    ("restricted", 34, pod(context={**HARDENED, "runAsUser": 0}, **IN_NAMESPACE)),
    ("baseline", 36, with_sysctl("net.ipv4.tcp_notsent_lowat")),
]


@pytest.mark.parametrize(("level", "minor", "one", "told"), STRICTER)
def test_a_later_version_minds_what_an_earlier_did_not(level: str, minor: int, one: Pod, told: str) -> None:
    assert wrong(level, minor, one) == ""
    assert wrong(level, minor + 1, one) == wrong(level, 99, one) == told


@pytest.mark.parametrize(("level", "minor", "one"), LOOSER)
def test_a_later_version_lets_pass_what_an_earlier_minded(level: str, minor: int, one: Pod) -> None:
    assert wrong(level, minor, one)
    assert wrong(level, minor + 1, one) == wrong(level, 99, one) == ""


def test_what_a_user_namespace_makes_harmless_stays_forbidden_to_hardened_pods() -> None:
    unmasked = pod(context={**HARDENED, "procMount": "Unmasked"}, **IN_NAMESPACE)
    told = 'procMount (container "c" must not set securityContext.procMount to "Unmasked")'
    assert wrong("restricted", 34, unmasked) == wrong("restricted", 35, unmasked) == told


def test_every_change_of_a_check_is_of_a_version_that_is_known_and_latest_is_the_newest() -> None:
    changes = [minor for table in (BASELINE, RESTRICTED) for versions in table.values() for minor in versions]
    assert max(changes) == NEWEST_MINOR
    assert {Standard("restricted", version).minor for version in ("latest", "v1.37", "v1.99")} == {NEWEST_MINOR}
    assert checks("privileged", NEWEST_MINOR) == ()
    assert len(checks("restricted", NEWEST_MINOR)) == len(BASELINE) + len(RESTRICTED) - 4


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (
            pod(securityContext={"seLinuxOptions": {"type": "t", "user": "u"}}, context={"seLinuxOptions": {"role": "r"}}),
            'seLinuxOptions (pod and container "c" set forbidden securityContext.seLinuxOptions: type "t"; user may not be set; role may not be set)',
        ),
        (
            pod(annotations={"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}, context={"appArmorProfile": {"type": "Unconfined"}}),
            'forbidden AppArmor profiles (container "c" and annotation must not set AppArmor profile type to "Unconfined", "container.apparmor.security.beta.kubernetes.io/c="unconfined"")',
        ),
        (
            pod(securityContext={"windowsOptions": {"hostProcess": True}}),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
    ],
)  # fmt: skip
def test_who_set_what_is_told_in_upstreams_words(one: Pod, told: str) -> None:
    assert wrong("baseline", 37, one) == told


def test_volumes_are_told_by_their_types() -> None:
    volumes = [
        {"name": "a", "nfs": {"server": "s", "path": "/"}},
        {"name": "b", "hostPath": {"path": "/"}},
        {"name": "ok", "image": {}},
    ]
    assert wrong("restricted", 0, pod(context={"runAsNonRoot": True}, volumes=volumes)) == (
        'restricted volume types (volumes "a", "b" use restricted volume types "hostPath", "nfs")'
    )


# --- the labels of a namespace ----------------------------------------------------------------------------------------


def security(*objects: Any, clock: Any = None, **configuration: Any) -> Any:
    more = {"clock": clock} if clock is not None else {}
    return plugin("PodSecurity", *objects, configuration={"PodSecurity": configuration}, **more)


@pytest.mark.parametrize(
    ("label", "value", "why"),
    [
        ("enforce", "foo", "must be one of privileged, baseline, restricted"),
        ("warn", "", "must be one of privileged, baseline, restricted"),
        ("audit_version", "1.20", 'must be "latest" or "v1.x"'),
        ("enforce_version", "v1.01", 'must be "latest" or "v1.x"'),
    ],
)
async def test_a_label_that_makes_no_sense_is_refused_when_it_comes(label: str, value: str, why: str) -> None:
    odd, key = namespace(**{label: value}), PREFIX + label.replace("_", "-")
    told = f'Namespace "x" is invalid: metadata.labels[{key}]: Invalid value: "{value}": {why}'
    for old in (None, namespace(), namespace(enforce="bar")):
        with pytest.raises(Invalid) as refused:
            await security().validate(asked(odd, old))
        assert refused.value.message == told
    await security().validate(asked(odd, odd))
    await security().validate(asked(odd, None, sub="status"))


async def test_where_labels_make_no_sense_pods_are_held_to_most() -> None:
    request = asked(pod())
    with pytest.raises(Forbidden, match='violates PodSecurity "restricted:latest"'):
        await security(namespace(enforce="foo", audit="bar")).validate(request)
    assert request.audit[f"{PREFIX}error"].startswith("Failed to parse policy: [metadata.labels[")
    assert f"{PREFIX}audit-violations" not in request.audit


async def test_who_enforces_a_level_warns_of_it_too_unless_another_is_said() -> None:
    for labels, warned in (
        ({"enforce": "baseline", "enforce_version": "v1.20"}, ['would violate PodSecurity "baseline:v1.20": host namespaces (hostPID=true)']),
        ({"enforce": "baseline", "warn": "privileged"}, []),
        ({"audit": "restricted"}, []),
    ):  # fmt: skip
        template = {"metadata": {}, "spec": {"hostPID": True, "containers": [{"name": "c", "image": "i"}]}}
        for made in (
            from_builtins(Deployment, {"metadata": {"name": "d", "namespace": "x"}, "spec": {"template": template}}),
            from_builtins(
                CronJob,
                {
                    "metadata": {"name": "d", "namespace": "x"},
                    "spec": {"jobTemplate": {"spec": {"template": template}}},
                },
            ),
            from_builtins(PodTemplate, {"metadata": {"name": "d", "namespace": "x"}, "template": template}),
        ):
            request = asked(made)
            await security(namespace(**labels)).validate(request)
            assert request.warnings == warned
            assert (f"{PREFIX}audit-violations" in request.audit) is ("audit" in labels)


async def test_what_has_no_template_yet_asks_for_nothing() -> None:
    for kind, spec in ((PodTemplate, {}), (ReplicationController, {"spec": {"replicas": 0}})):
        request = asked(from_builtins(kind, {"metadata": {"name": "d", "namespace": "x"}, **spec}))
        await security(namespace(enforce="restricted")).validate(request)
        assert request.warnings == []


async def test_of_a_pod_that_is_there_only_what_may_change_is_checked() -> None:
    guard, old = security(namespace(enforce="baseline")), pod(hostPID=True)
    await guard.validate(asked(pod(hostPID=True, annotations={"a": "b"}), old))
    await guard.validate(asked(pod(hostPID=True, container={"image": "j"}), old, sub="status"))
    debugger = {"ephemeralContainers": [{"name": "e", "image": "i"}]}
    for changed, sub in (
        (pod(hostPID=True, container={"image": "j"}), ""),
        (pod(hostPID=True, **debugger), "ephemeralcontainers"),
    ):
        with pytest.raises(Forbidden, match="host namespaces"):
            await guard.validate(asked(changed, old, sub=sub))


async def test_a_namespace_that_enforces_more_is_told_of_the_pods_that_it_has() -> None:
    there = [
        *(pod(f"web-{n}", hostPID=True, owner="1") for n in range(3)), pod("b", hostPID=True), pod("db", context={"privileged": True}),
        pod("fine"), pod("sandboxed", hostPID=True, runtimeClassName="vm"),
    ]  # fmt: skip
    guard = security(*there, exemptions={"runtimeClasses": ["vm"]})
    request = asked(namespace(enforce="baseline"), namespace())
    await guard.validate(request)
    assert request.warnings == [
        'existing pods in namespace "x" violate the new PodSecurity enforce level "baseline:latest"',
        "b (and 3 other pods): host namespaces",
        "db: privileged",
    ]
    for new, old in (
        (namespace(enforce="baseline"), namespace(enforce="baseline")),
        (namespace(enforce="baseline"), namespace(enforce="restricted")),
        (namespace(enforce="privileged"), namespace(enforce="baseline")),
        (namespace(warn="restricted"), namespace()),
        (namespace(enforce="baseline"), None),
    ):
        request = asked(new, old)
        await guard.validate(request)
        assert request.warnings == []
    request = asked(namespace(enforce="baseline", enforce_version="v1.1"), namespace(enforce="restricted"))
    await guard.validate(request)
    assert len(request.warnings) == 3


class Hasty(Clock):
    """On which each look takes long."""

    def monotonic(self) -> float:
        self.now += 0.6
        return self.now


async def test_of_many_pods_as_many_are_looked_at_as_time_allows_one_of_each_controller_first() -> None:
    alike = [pod(f"web-{n:03}", hostPID=True, owner="1") for n in range(200)]
    guard = security(*alike, pod("odd", context={"privileged": True}), clock=Hasty())
    request = asked(namespace(enforce="baseline"), namespace())
    await guard.validate(request)
    assert request.warnings == [
        "new PodSecurity enforce level only checked against the first 100 of 201 existing pods",
        'existing pods in namespace "x" violate the new PodSecurity enforce level "baseline:latest"',
        "odd: privileged",
        "web-000 (and 98 other pods): host namespaces",
    ]


# --- a configuration --------------------------------------------------------------------------------------------------


async def test_the_configuration_says_what_a_namespace_does_not() -> None:
    guard = security(
        namespace(), namespace("y", enforce="privileged"), defaults={"enforce": "baseline", "enforce-version": "v1.30"}
    )
    with pytest.raises(Forbidden, match=r'violates PodSecurity "baseline:v1\.30"'):
        await guard.validate(asked(pod(hostPID=True)))
    elsewhere = from_builtins(
        Pod, {"metadata": {"name": "a", "namespace": "y"}, "spec": {"hostPID": True, "containers": []}}
    )
    request = asked(elsewhere)
    request.namespace = "y"
    await guard.validate(request)


@pytest.mark.parametrize(
    ("exemptions", "why"),
    [
        ({"namespaces": ["x"]}, "namespace"),
        ({"usernames": ["jane"]}, "user"),
        ({"runtimeClasses": ["vm"]}, "runtimeClass"),
    ],
)
async def test_who_is_exempt_is_not_refused_and_that_is_noted(exemptions: Any, why: str) -> None:
    request = asked(pod(hostPID=True, runtimeClassName="vm"), user="jane")
    await security(namespace(enforce="baseline"), exemptions=exemptions).validate(request)
    assert request.audit == {f"{PREFIX}exempt": why}
    with pytest.raises(Forbidden):
        await security(namespace(enforce="baseline"), exemptions={"usernames": ["joe"]}).validate(
            asked(pod(hostPID=True), user="jane")
        )


async def test_an_exempt_namespace_is_told_that_its_labels_do_nothing() -> None:
    request = asked(namespace(enforce="baseline", audit="restricted", audit_version="v1.30"))
    await security(exemptions={"namespaces": ["x"]}).validate(request)
    told = "enforce=baseline:latest, audit=restricted:v1.30"
    assert request.warnings == [f'namespace "x" is exempt from Pod Security, and the policy ({told}) will be ignored']


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"defaults": {"enforce": "some"}}, 'defaults.enforce: Invalid value: "some": must be one of privileged, baseline, restricted'),
        ({"defaults": {"warn-version": "v2"}}, 'defaults.warn-version: Invalid value: "v2": must be "latest" or "v1.x"'),
        ({"exemptions": {"usernames": [""]}}, 'exemptions.usernames[0]: Invalid value: "": username must not be empty'),
        ({"exemptions": {"namespaces": ["a", "a"]}}, 'exemptions.namespaces[1]: Duplicate value: "a"'),
        ({"exemptions": {"runtimeClasses": ["A"]}}, 'exemptions.runtimeClasses[0]: Invalid value: "A"'),
    ],
)  # fmt: skip
def test_a_configuration_that_makes_no_sense_is_refused(said: Any, why: str) -> None:
    with pytest.raises(ValueError) as refused:
        configured(said)
    assert str(refused.value).startswith(why)
