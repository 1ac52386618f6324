"""What upstream's conformance tests ask of a node, with real containers: each test is a handful of pods in one cluster."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from image_registry import image_registry
from msgspec.structs import replace
from oci_images import busybox

from kybern.api.core_v1 import (
    Container,
    ContainerRestartRule,
    ContainerRestartRuleOnExitCodes,
    EmptyDirVolumeSource,
    EnvVar,
    EnvVarSource,
    EphemeralContainer,
    ExecAction,
    FileKeySelector,
    HostAlias,
    Lifecycle,
    LifecycleHandler,
    ObjectFieldSelector,
    Pod,
    PodOS,
    PodSecurityContext,
    PodSpec,
    Probe,
    ResourceRequirements,
    SecurityContext,
    SleepAction,
    Sysctl,
    Volume,
    VolumeMount,
)
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.shape import Quantity
from kybern.client import Client
from kybern.kubelet.credential_providers import Provider

pytestmark = pytest.mark.linux

HOST_IMAGE = "kybern.local/host"
FOREVER = "trap 'exit 0' TERM; while true; do sleep 0.05; done"
SHARED = {"shared": Volume(name="shared", empty_dir=EmptyDirVolumeSource())}
MOUNTED = (VolumeMount(name="shared", mount_path="/mnt/shared"),)

Scenario = Callable[[Any], Awaitable[None]]


@pytest.fixture
def on_a_node(node_lab: Any, tmp_path: Path) -> Callable[[Scenario], Awaitable[None]]:
    """Runs it with a node, and takes all pods away afterwards."""

    async def run(scenario: Scenario) -> None:
        async def whole(client: Client, root: Path) -> None:
            async with node_lab.node(root, client) as here:
                await scenario(here)
                await node_lab.remove_all(here)

        await node_lab.in_a_cluster(whole, tmp_path)

    return run


def shell(name: str, script: str, **given: Any) -> Container:
    return Container(name=name, image=HOST_IMAGE, command=("sh", "-c", script), **given)


def command(*words: str) -> ExecAction:
    return ExecAction(command=words)


def status_of(pod: Pod, name: str = "main") -> Any:
    groups = (
        pod.status.container_statuses,
        pod.status.init_container_statuses,
        pod.status.ephemeral_container_statuses,
    )
    return next(status for group in groups for status in group or () if status.name == name)


def is_running(pod: Pod) -> bool:
    return pod.status.phase == "Running"


async def test_how_a_pod_ends_is_told_by_its_policy_and_its_exit_code(on_a_node: Any, node_lab: Any) -> None:
    once = "test -e /mnt/shared/ran || { touch /mnt/shared/ran; exit 1; }"
    cases = (
        ("well", "Never", "true", "Succeeded", 0, "Completed"),
        ("badly", "Never", "exit 3", "Failed", 0, "Error"),
        ("second-try", "OnFailure", once, "Succeeded", 1, "Completed"),
    )

    async def scenario(here: Any) -> None:
        for name, policy, script, *_ in cases:
            await here.client.create(node_lab.pod(name, script, SHARED, restart_policy=policy))
        for name, _, _, phase, restarts, reason in cases:
            pod = await here.until(name, lambda pod, phase=phase: pod.status.phase == phase)
            status = status_of(pod)
            assert (status.restart_count, status.state.terminated.reason) == (restarts, reason), name
        assert status_of(await here.until("badly", lambda pod: True)).state.terminated.exit_code == 3

    await on_a_node(scenario)


async def test_what_a_container_finds_about_itself(on_a_node: Any, node_lab: Any) -> None:
    def field(path: str) -> EnvVarSource:
        return EnvVarSource(field_ref=ObjectFieldSelector(field_path=path))

    env = (
        EnvVar(name="FIRST", value="1"),
        EnvVar(name="SECOND", value="$(FIRST)2 $$(FIRST) $(NOBODY)"),
        EnvVar(name="NAME", value_from=field("metadata.name")),
        EnvVar(name="IP", value_from=field("status.podIP")),
        EnvVar(name="HOSTS", value_from=field("status.hostIPs")),
    )
    capped = {"memory": Quantity("64Mi")}
    sysctls = (Sysctl(name="kernel.shm_rmid_forced", value="1"),)
    cases: dict[str, tuple[str, dict[str, Any], dict[str, Any], list[str]]] = {
        "variables": (
            'echo "$SECOND"; echo $NAME; echo $HOSTS; test -n "$IP" && echo has-ip',
            {"env": env},
            {},
            ["12 $(FIRST) $(NOBODY)", "variables", "10.244.0.1", "has-ip"],
        ),
        "names": (
            "hostname; hostname -f; grep -c '^# Kubernetes-managed hosts file.$' /etc/hosts; grep -w foo /etc/hosts",
            {},
            {
                "hostname": "web-0",
                "subdomain": "web",
                "host_aliases": (HostAlias(ip="10.1.2.3", hostnames=("foo", "bar")),),
            },
            ["web-0", "web-0.web.default.svc.cluster.local", "1", "10.1.2.3\tfoo\tbar"],
        ),
        "whole-name": (
            "hostname",
            {},
            {"hostname": "web-0", "subdomain": "web", "set_hostname_as_fqdn": True},
            ["web-0.web.default.svc.cluster.local"],
        ),
        "user": (
            "id -u; id -g; touch /x 2>/dev/null || echo read-only; grep NoNewPrivs /proc/self/status",
            {
                "security_context": SecurityContext(
                    run_as_user=1001,
                    run_as_group=2002,
                    read_only_root_filesystem=True,
                    allow_privilege_escalation=False,
                )
            },
            {},
            ["1001", "2002", "read-only", "NoNewPrivs:\t1"],
        ),
        "groups": (
            "id -G",
            {},
            {"security_context": PodSecurityContext(run_as_user=54_321, supplemental_groups=(1234,), fs_group=4321)},
            ["0 1234 4321"],
        ),
        "sysctl": (
            "cat /proc/sys/kernel/shm_rmid_forced",
            {},
            {"security_context": PodSecurityContext(sysctls=sysctls)},
            ["1"],
        ),
        "memory": (
            "df -B1 --output=size /mnt/shared | tail -1 | tr -d ' '; stat -f -c %T /mnt/shared",
            {"resources": ResourceRequirements(limits=capped), "volume_mounts": MOUNTED},
            {"volumes": (Volume(name="shared", empty_dir=EmptyDirVolumeSource(medium="Memory")),)},
            [str(64 << 20), "tmpfs"],
        ),
        "expression": (
            "ls /mnt/shared; ls -d /mnt/sub",
            {
                "env": (EnvVar(name="WHO", value="me"),),
                "volume_mounts": (
                    *MOUNTED,
                    VolumeMount(name="shared", mount_path="/mnt/sub", sub_path_expr="of-$(WHO)"),
                ),
            },
            {"volumes": tuple(SHARED.values())},
            ["of-me", "/mnt/sub"],
        ),
    }

    async def scenario(here: Any) -> None:
        for name, (script, of_main, spec, _) in cases.items():
            made = node_lab.pod(name, script, {}, restart_policy="Never")
            main = replace(made.spec.containers[0], **of_main)
            await here.client.create(replace(made, spec=replace(made.spec, containers=(main,), **spec)))
        for name, (*_, lines) in cases.items():
            pod = await here.until(name, lambda pod: pod.status.phase in ("Succeeded", "Failed"))
            assert here.log(pod).splitlines() == lines, name

    await on_a_node(scenario)


async def test_what_comes_first_and_what_last(on_a_node: Any, node_lab: Any) -> None:
    """Init containers in order, sidecars from their place on, hooks before signals, sidecars last."""
    note = "echo {} >> /mnt/shared/notes"
    stops = (
        f"trap '{note.format('stop-{0}')}; exit 0' TERM; {note.format('start-{0}')}; while true; do sleep 0.02; done"
    )

    async def scenario(here: Any) -> None:
        hooks = Lifecycle(
            post_start=LifecycleHandler(exec=command("sh", "-c", note.format("post-start"))),
            pre_stop=LifecycleHandler(exec=command("sh", "-c", note.format("pre-stop"))),
        )
        main = shell("main", stops.format("main"), volume_mounts=MOUNTED, lifecycle=hooks)
        started = Probe(exec=command("grep", "-q", "start-side", "/mnt/shared/notes"), period_seconds=1)
        init = (
            shell("first", note.format("first"), volume_mounts=MOUNTED),
            shell("side", stops.format("side"), volume_mounts=MOUNTED, restart_policy="Always", startup_probe=started),
            shell("second", note.format("second"), volume_mounts=MOUNTED),
        )
        made = node_lab.pod("ordered", "", SHARED)
        await here.client.create(replace(made, spec=replace(made.spec, containers=(main,), init_containers=init)))
        pod = await here.until("ordered", lambda pod: is_running(pod) and status_of(pod).ready)
        notes = Path(here.kubelet.parts.volumes.host_path(pod, "shared"), "notes")
        found = notes.read_text().split()
        assert found[:3] == ["first", "start-side", "second"]
        assert sorted(found[3:]) == ["post-start", "start-main"], "these two have no order between them"
        kept = os.open(notes, os.O_RDONLY)
        await here.client.delete(Pod, "ordered", "default", grace_seconds=10)
        async with asyncio.timeout(15):
            while here.kubelet.workers:
                await asyncio.sleep(0.02)
        with os.fdopen(kept) as opened:
            assert opened.read().split()[5:] == ["pre-stop", "stop-main", "stop-side"]

    await on_a_node(scenario)


async def test_one_containers_end_starts_the_whole_pod_anew_with_what_its_init_container_wrote(
    on_a_node: Any, node_lab: Any
) -> None:
    """fileKeyRef, RestartAllContainers, stopSignal."""

    async def scenario(here: Any) -> None:
        rule = ContainerRestartRule(
            action="RestartAllContainers", exit_codes=ContainerRestartRuleOnExitCodes(operator="In", values=(42,))
        )
        written = FileKeySelector(volume_name="shared", path="made.env", key="ROUND")
        env = (EnvVar(name="ROUND", value_from=EnvVarSource(file_key_ref=written)),)
        count = "n=$(cat /mnt/shared/n 2>/dev/null || echo 0); echo $((n + 1)) > /mnt/shared/n"
        init = shell(
            "init", f"{count}; echo \"ROUND='round $((n + 1))'\" > /mnt/shared/made.env", volume_mounts=MOUNTED
        )
        ends = 'echo "$ROUND"; [ "$ROUND" = "round 2" ] || { sleep 0.5; exit 42; }; ' + FOREVER
        of_main = {"env": env, "restart_policy": "Never", "restart_policy_rules": (rule,)}
        beside = shell("beside", f'echo "$ROUND"; {FOREVER}', env=env, lifecycle=Lifecycle(stop_signal="SIGTERM"))
        pod = node_lab.pod("rounds", ends, SHARED, of_main=of_main, init_containers=(init,))
        spec = replace(pod.spec, containers=(*pod.spec.containers, beside), os=PodOS(name="linux"))
        await here.client.create(replace(pod, spec=spec))
        found = await here.until(
            "rounds",
            lambda pod: is_running(pod) and status_of(pod, "beside").restart_count == status_of(pod).restart_count == 1,
        )
        logs = here.root / "logs" / f"default_rounds_{found.metadata.uid}"
        for name in ("main", "beside"):
            async with asyncio.timeout(10):
                while "round 2" not in (logs / name / "1.log").read_text():
                    await asyncio.sleep(0.01)
        assert status_of(found, "beside").stop_signal == "SIGTERM"
        assert {c.type: c.status for c in found.status.conditions or ()}["AllContainersRestarting"] == "False"

    await on_a_node(scenario)


async def test_a_container_may_come_to_look_at_a_running_pod(on_a_node: Any, node_lab: Any) -> None:
    async def scenario(here: Any) -> None:
        await here.client.create(node_lab.pod("watched", f"echo marked > /tmp/marked; {FOREVER}", {}))
        pod = await here.until("watched", is_running)
        look = "for p in /proc/[0-9]*; do cat $p/root/tmp/marked 2>/dev/null; done; sleep 1000"
        guest = EphemeralContainer(
            name="guest", image=HOST_IMAGE, command=("sh", "-c", look), target_container_name="main"
        )
        spec = replace(pod.spec, ephemeral_containers=(guest,))
        await here.client.update(replace(pod, spec=spec), subresource="ephemeralcontainers")
        pod = await here.until("watched", lambda pod: has_started(pod, "guest"))
        await here.said(pod, "marked", container="guest")
        assert pod.status.container_statuses[0].restart_count == 0

    await on_a_node(scenario)


def has_started(pod: Pod, name: str) -> bool:
    statuses = pod.status.ephemeral_container_statuses or ()
    return any(status.name == name and status.state.running for status in statuses)


async def test_containers_of_a_pod_may_see_each_others_processes(on_a_node: Any, node_lab: Any) -> None:
    async def scenario(here: Any) -> None:
        made = node_lab.pod("shared", "", SHARED, share_process_namespace=True)
        both = (
            shell("main", "until pgrep -f 'sleep 4321' >/dev/null; do sleep 0.05; done; echo seen; sleep 1000"),
            shell("other", "sleep 4321"),
        )
        await here.client.create(replace(made, spec=replace(made.spec, containers=both)))
        pod = await here.until("shared", is_running)
        await here.said(pod, "seen")

    await on_a_node(scenario)


async def test_last_words_and_failed_probes(on_a_node: Any, node_lab: Any) -> None:
    async def scenario(here: Any) -> None:
        quiet = {"termination_message_policy": "FallbackToLogsOnError"}
        elsewhere = {
            "termination_message_path": "/dev/last-words",
            "security_context": SecurityContext(run_as_user=10_000),
        }
        sick = Probe(exec=command("test", "-e", "/nowhere"), period_seconds=1, failure_threshold=1)
        unready = Probe(exec=command("false"), period_seconds=1)
        cases: tuple[tuple[str, str, dict[str, Any]], ...] = (
            ("from-log", "echo goodbye; exit 1", quiet),
            ("from-file", "printf DONE > /dev/last-words", elsewhere),
            ("sick", FOREVER, {"liveness_probe": sick}),
            ("unready", FOREVER, {"readiness_probe": unready}),
            (
                "sleeps-first",
                FOREVER,
                {"lifecycle": Lifecycle(pre_stop=LifecycleHandler(sleep=SleepAction(seconds=1)))},
            ),
        )
        for name, script, of_main in cases:
            policy = "Never" if name.startswith("from") else "Always"
            await here.client.create(node_lab.pod(name, script, {}, of_main=of_main, restart_policy=policy))
        for name, words in (("from-log", "goodbye\n"), ("from-file", "DONE")):
            pod = await here.until(name, lambda pod: pod.status.phase in ("Succeeded", "Failed"))
            assert status_of(pod).state.terminated.message == words
        await here.until("sick", lambda pod: pod.status.container_statuses and status_of(pod).restart_count > 0)
        pod = await here.until("unready", is_running)
        await asyncio.sleep(1.5)  # a probe has spoken
        assert not status_of(await here.until("unready", is_running)).ready
        deadline = {"spec": {"activeDeadlineSeconds": 1}}
        await here.client.patch(Pod, "unready", "default", deadline, how="strategic")
        pod = await here.until("unready", lambda pod: pod.status.phase == "Failed")
        assert pod.status.reason == "DeadlineExceeded"

    await on_a_node(scenario)


async def test_six_containers_are_resized_each_its_own_way_and_back(on_a_node: Any, node_lab: Any) -> None:
    async def scenario(here: Any) -> None:
        before = [(f"c{n}", {"requests": {"cpu": f"{n}0m", "memory": f"{n}Mi"}}) for n in range(1, 7)]
        made = node_lab.pod("six", "", {})
        containers = tuple(shell(name, FOREVER, resources=requirements(sizes)) for name, sizes in before)
        await here.client.create(replace(made, spec=replace(made.spec, containers=containers)))
        pod = await here.until("six", is_running)
        ids = [status.container_id for status in pod.status.container_statuses or ()]
        after = [
            ("c1", {"requests": {"cpu": "1m", "memory": "1Mi"}}),
            ("c2", {"requests": {"cpu": "2m", "memory": "2Mi"}}),
            ("c3", {"requests": {"cpu": "50m", "memory": "3Mi"}, "limits": {"cpu": "100m"}}),
            ("c4", {"requests": {"cpu": "40m", "memory": "8Mi"}, "limits": {"memory": "64Mi"}}),
            ("c5", {"requests": {"cpu": "10m", "memory": "5Mi"}}),
            ("c6", {"requests": {"cpu": "60m", "memory": "6Mi"}, "limits": {"cpu": "200m", "memory": "80Mi"}}),
        ]
        patch = {"spec": {"containers": [{"name": name, "resources": sizes} for name, sizes in after]}}
        await here.client.patch(Pod, "six", "default", patch, how="strategic", subresource="resize")
        pod = await here.until("six", lambda pod: all(has(pod, name, sizes) for name, sizes in after))
        assert [status.container_id for status in pod.status.container_statuses or ()] == ids
        pod = await here.until(
            "six", lambda pod: not any(c.type.startswith("PodResize") for c in pod.status.conditions)
        )
        assert pod.status.observed_generation == pod.metadata.generation

    await on_a_node(scenario)


def requirements(sizes: dict[str, dict[str, str]]) -> ResourceRequirements:
    found = {kind: {name: Quantity(text) for name, text in amounts.items()} for kind, amounts in sizes.items()}
    return ResourceRequirements(**found)


def has(pod: Pod, name: str, sizes: dict[str, dict[str, str]]) -> bool:
    status = status_of(pod, name)
    return bool(status.resources == requirements(sizes) and status.allocated_resources == sizes["requests"])


async def test_an_image_of_a_registry_that_wants_a_login_is_pulled_with_what_a_program_of_the_machine_says(
    on_a_node: Callable[[Scenario], Awaitable[None]],
) -> None:
    async def scenario(here: Any) -> None:
        async with image_registry() as registry:
            registry.add("test/private", busybox())
            registry.login = "robot:secret"
            program = Path(here.kubelet.config.credential_programs_directory, "helper")
            program.parent.mkdir()
            told = {
                "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
                "kind": "CredentialProviderResponse",
                "cacheKeyType": "Registry",
                "cacheDuration": "1m",
                "auth": {registry.address: {"username": "robot", "password": "secret"}},
            }
            program.write_text(f"#!/bin/sh\ncat > /dev/null\necho '{json.dumps(told)}'\n")
            program.chmod(0o700)
            asked = Provider(
                name="helper", images=(registry.address,), api_version=told["apiVersion"], cache_seconds=60.0
            )
            here.kubelet.parts.images.providers.providers = (asked,)
            container = Container(name="main", image=f"{registry.address}/test/private", command=("sleep", "1000"))
            made = Pod(
                metadata=ObjectMeta(name="private", namespace="default"),
                spec=PodSpec(
                    node_name="n1",
                    containers=(container,),
                    termination_grace_period_seconds=0,
                    automount_service_account_token=False,
                ),
            )
            await here.client.create(made)
            await here.until("private", lambda pod: pod.status.phase == "Running")

    await on_a_node(scenario)
