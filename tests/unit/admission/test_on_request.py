"""Upstream's plugins that users turn on, and the two that are on for pods on nodes: each in upstream's words."""

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from kybern.aio.clock import LoopClock
from kybern.aio.ids import Ids
from kybern.api.certificates_v1 import ClusterTrustBundle
from kybern.api.codec import from_builtins
from kybern.api.core_v1 import ConfigMap, Namespace, Node, Pod, Service
from kybern.api.errors import Forbidden, NotFound
from kybern.api.kinds import KINDS
from kybern.apiserver.admission.order import NAMES
from kybern.apiserver.admission.plugin import Inputs
from kybern.apiserver.auth.authorizers import Authorizers
from kybern.apiserver.auth.rbac import Rbac
from kybern.apiserver.callouts.callouts import Callouts
from kybern.apiserver.request import Admission, Attributes, Decision, User
from kybern.registry.resource import Resource
from kybern.testing.memory_objects import MemoryObjects

RESOURCES = {kind.type: Resource(kind=kind) for kind in KINDS}
ANNOTATION = "scheduler.alpha.kubernetes.io/"


class Only:
    """Allows these."""

    def __init__(self, *allowed: str) -> None:
        self.allowed = allowed

    def decide(self, a: Attributes) -> Decision:
        return Decision(f"{a.verb} {a.resource} {a.name}" in self.allowed)


class World:
    def __init__(self, name: str, *objects: Any, configuration: Any = None, allowed: tuple[str, ...] = ()) -> None:
        self.objects = MemoryObjects(*objects)
        self.plugin = NAMES[name](
            Inputs(
                objects=self.objects, authorizer=Authorizers((Only(*allowed),)), rbac=Rbac(), clock=LoopClock(), ids=Ids(1),
                callouts=Callouts(self.objects, Random(1)), configuration={name: configuration} if configuration else {},
            )
        )  # fmt: skip

    async def admit(self, new: Any, old: Any = None, sub: str = "", **more: Any) -> Any:
        """The object as the plugin leaves it, where it lets it pass."""
        admission = Admission(
            user=User("jane"), operation="UPDATE" if old is not None else "CREATE", resource=RESOURCES[type(new)],
            subresource=sub, namespace=new.metadata.namespace or "", name=new.metadata.name, object=new, old=old,
            **{"dry_run": False, **more},
        )  # fmt: skip
        await self.plugin.admit(admission)
        await self.plugin.validate(admission)
        return admission.object

    async def refuses(self, new: Any, old: Any = None, sub: str = "") -> str:
        with pytest.raises(Forbidden) as refusal:
            await self.admit(new, old, sub)
        return refusal.value.message


def pod(labels: Any = None, **spec: Any) -> Pod:
    body = {
        "metadata": {"name": "p", "namespace": "x", "labels": labels},
        "spec": {"containers": [container()], **spec},
    }
    made: Pod = from_builtins(Pod, body)
    return made


def container(name: str = "c", image: str = "i", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": image, "imagePullPolicy": "IfNotPresent", **more}


def namespace(**annotations: str) -> Namespace:
    named = {ANNOTATION + key.replace("_", "-"): value for key, value in annotations.items()}
    made: Namespace = from_builtins(Namespace, {"metadata": {"name": "x", "annotations": named}})
    return made


# --- AlwaysPullImages, LimitPodHardAntiAffinityTopology, ExtendedResourceToleration -----------------------------------


async def test_every_image_is_pulled() -> None:
    volumes = [{"name": "v", "image": {"reference": "r", "pullPolicy": "Never"}}]
    made = await World("AlwaysPullImages").admit(pod(initContainers=[container("a")], volumes=volumes))
    assert {one.image_pull_policy for one in (*made.spec.containers, *made.spec.init_containers)} == {"Always"}
    assert made.spec.volumes[0].image.pull_policy == "Always"


async def test_a_pod_that_gets_no_new_image_is_left_alone() -> None:
    world, old = World("AlwaysPullImages"), pod()
    assert await world.admit(pod(labels={"a": "b"}), old) == pod(labels={"a": "b"})
    other = await world.admit(pod(containers=[container(image="other")]), old)
    assert other.spec.containers[0].image_pull_policy == "Always"
    debugging = pod(ephemeralContainers=[container("e", "debug")])
    made = await world.admit(debugging, old, "ephemeralcontainers")
    assert made.spec.ephemeral_containers[0].image_pull_policy == "Always"


async def test_what_another_plugin_makes_of_the_policy_is_refused() -> None:
    world = World("AlwaysPullImages")
    asked = Admission(
        user=User("jane"), operation="CREATE", resource=RESOURCES[Pod], subresource="", namespace="x", name="p",
        object=pod(), old=None, dry_run=False,
    )  # fmt: skip
    with pytest.raises(Forbidden) as refusal:
        await world.plugin.validate(asked)
    why = 'spec.containers[0].imagePullPolicy: Unsupported value: "IfNotPresent": supported values: "Always"'
    assert refusal.value.message == f'pods "p" is forbidden: {why}'


async def test_others_are_kept_off_a_node_but_not_off_a_zone() -> None:
    def apart(key: str) -> Pod:
        term = {"topologyKey": key, "labelSelector": {}}
        return pod(affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})

    world = World("LimitPodHardAntiAffinityTopology")
    await world.admit(apart("kubernetes.io/hostname"))
    assert "has TopologyKey zone but only key kubernetes.io/hostname is allowed" in await world.refuses(apart("zone"))


async def test_who_asks_for_special_devices_tolerates_their_nodes() -> None:
    requests = {"example.com/b": "1", "example.com/a": "2", "cpu": "1"}
    world = World("ExtendedResourceToleration")
    made = await world.admit(pod(containers=[container(resources={"requests": requests})]))
    assert [(one.key, one.operator, one.effect) for one in made.spec.tolerations] == [
        ("example.com/a", "Exists", "NoSchedule"),
        ("example.com/b", "Exists", "NoSchedule"),
    ]
    assert await world.admit(made) == made
    assert (await world.admit(pod())).spec.tolerations is None


# --- namespaces -------------------------------------------------------------------------------------------------------


async def test_a_namespace_is_made_for_what_is_created_in_it() -> None:
    world = World("NamespaceAutoProvision")
    await world.admit(pod(), dry_run=True)
    assert world.objects.get(Namespace, "x") is None
    await world.admit(pod(), pod())
    assert world.objects.get(Namespace, "x") is None
    await world.admit(pod())
    assert world.objects.get(Namespace, "x") is not None


async def test_nothing_is_written_into_a_namespace_that_is_not_there() -> None:
    with pytest.raises(NotFound, match=r'^namespaces "x" not found$'):
        await World("NamespaceExists").admit(pod())
    await World("NamespaceExists", namespace()).admit(pod())
    await World("NamespaceExists").admit(from_builtins(Namespace, {"metadata": {"name": "x"}}))


# --- PodNodeSelector, PodTolerationRestriction ------------------------------------------------------------------------


async def test_pods_run_where_their_namespace_says() -> None:
    world = World("PodNodeSelector", namespace(node_selector="tier=gold,zone=a"))
    made = await world.admit(pod(nodeSelector={"disk": "ssd"}))
    assert made.spec.node_selector == {"tier": "gold", "zone": "a", "disk": "ssd"}
    assert "conflicts with its namespace node label selector" in await world.refuses(pod(nodeSelector={"zone": "b"}))


async def test_the_configuration_says_it_for_the_others() -> None:
    selectors = {"clusterDefaultNodeSelector": "env=dev", "x": "env=dev,disk=ssd"}
    world = World("PodNodeSelector", namespace(), configuration={"podNodeSelectorPluginConfig": selectors})
    assert (await world.admit(pod(nodeSelector={"disk": "ssd"}))).spec.node_selector == {"env": "dev", "disk": "ssd"}
    assert "conflict with its namespace whitelist" in await world.refuses(pod(nodeSelector={"gpu": "yes"}))


def toleration(**fields: Any) -> Mapping[str, Any]:
    return {"key": "k", "operator": "Exists", **fields}


async def test_a_namespace_gives_its_pods_tolerations_and_says_what_they_may() -> None:
    world = World(
        "PodTolerationRestriction",
        namespace(
            defaultTolerations='[{"key":"team","operator":"Equal","value":"a","effect":"NoSchedule"}]',
            tolerationsWhitelist='[{"key":"team","operator":"Exists"},{"operator":"Exists","effect":"NoExecute","tolerationSeconds":300}]',
        ),
    )
    made = await world.admit(pod())
    assert [(one.key, one.value) for one in made.spec.tolerations] == [("team", "a")]
    await world.admit(pod(tolerations=[toleration(key="any", effect="NoExecute", tolerationSeconds=60)]))
    for wrong in (toleration(), toleration(effect="NoExecute"), toleration(effect="NoExecute", tolerationSeconds=301)):
        assert "conflict with its namespace whitelist" in await world.refuses(pod(tolerations=[wrong]))


async def test_the_configuration_gives_the_others_theirs() -> None:
    configuration = {"default": [toleration(key="d")], "whitelist": [toleration(key="d"), toleration(key="e")]}
    world = World("PodTolerationRestriction", namespace(), configuration=configuration)
    assert [one.key for one in (await world.admit(pod())).spec.tolerations] == ["d"]
    assert "conflict with its cluster whitelist" in await world.refuses(pod(tolerations=[toleration(key="z")]))
    alone = World(
        "PodTolerationRestriction",
        namespace(defaultTolerations="", tolerationsWhitelist=""),
        configuration=configuration,
    )
    assert [one.key for one in (await alone.admit(pod(tolerations=[toleration(key="z")]))).spec.tolerations] == ["z"]


async def test_a_pod_that_asks_for_something_tolerates_pressure_on_memory() -> None:
    made = await World("PodTolerationRestriction", namespace()).admit(
        pod(containers=[container(resources={"requests": {"cpu": "1"}})])
    )
    assert [one.key for one in made.spec.tolerations] == ["node.kubernetes.io/memory-pressure"]


async def test_tolerations_that_another_covers_are_left_out() -> None:
    wide, narrow = toleration(), toleration(effect="NoSchedule")
    world = World("PodTolerationRestriction", namespace())
    for given in ([wide, narrow], [narrow, wide], [wide, wide]):
        made = await world.admit(pod(tolerations=given))
        assert [one.effect for one in made.spec.tolerations] == [None]


# --- the others -------------------------------------------------------------------------------------------------------


async def test_no_service_gets_addresses_that_are_not_the_clusters() -> None:
    def service(*ips: str) -> Service:
        body = {"metadata": {"name": "s", "namespace": "x"}, "spec": {"externalIPs": list(ips)}}
        made: Service = from_builtins(Service, body)
        return made

    world = World("DenyServiceExternalIPs")
    await world.admit(service())
    await world.admit(service("192.0.2.1"), service("192.0.2.1", "192.0.2.2"))
    told = 'services "s" is forbidden: Use of external IPs is denied by admission control'
    assert await world.refuses(service("192.0.2.1")) == told
    assert await world.refuses(service("192.0.2.3"), service("192.0.2.1")) == told


def node(name: str = "n", labels: Any = None, **allocatable: str) -> Node:
    body = {"metadata": {"name": name, "labels": labels or {}}, "status": {"allocatable": allocatable}}
    made: Node = from_builtins(Node, body)
    return made


async def test_a_pod_bears_the_zone_of_its_node() -> None:
    zone = {"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r"}
    world = World("PodTopologyLabels", node(labels={**zone, "other": "o"}))
    bound = await world.admit(pod({"a": "b", "topology.kubernetes.io/zone": "mine"}, nodeName="n"), pod(), "binding")
    assert bound.metadata.labels == {"a": "b", **zone}
    assert (await world.admit(pod(nodeName="n"))).metadata.labels == zone
    assert (await world.admit(pod(nodeName="gone"))).metadata.labels is None
    assert (await world.admit(pod(nodeName="n"), pod(), "status")).metadata.labels is None


async def test_a_pod_grows_no_further_than_its_node() -> None:
    def asking(cpu: str, memory: str = "1Gi") -> Pod:
        requests = {"cpu": cpu, "memory": memory}
        return pod(nodeName="n", containers=[container(resources={"requests": requests})])

    world = World("PodResizeValidator", node(labels={"kubernetes.io/os": "linux"}, cpu="2", memory="2Gi"))
    await world.admit(asking("2"), asking("1"), "resize")
    told = "Node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000; memory, "
    assert told + "requested: 3221225472, allocatable: 2147483648" in await world.refuses(
        asking("3", "3Gi"), asking("1"), "resize"
    )
    await world.admit(asking("3"), asking("3"), "resize")
    elsewhere = World("PodResizeValidator", node(labels={"kubernetes.io/os": "windows"}, cpu="9", memory="9Gi"))
    assert 'only supported on linux nodes, node "n" is "windows"' in await elsewhere.refuses(
        asking("2"), asking("1"), "resize"
    )


async def test_whom_to_trust_for_a_signer_is_said_by_who_may_attest() -> None:
    def bundle(text: str = "pem", signer: str | None = "example.com/s") -> ClusterTrustBundle:
        body = {"metadata": {"name": "b"}, "spec": {"signerName": signer, "trustBundle": text}}
        made: ClusterTrustBundle = from_builtins(ClusterTrustBundle, body)
        return made

    world = World("ClusterTrustBundleAttest")
    assert 'user not permitted to attest for signerName "example.com/s"' in await world.refuses(bundle())
    await world.admit(bundle(signer=None))
    await world.admit(bundle(), bundle())
    for right in ("attest signers example.com/s", "attest signers example.com/*"):
        await World("ClusterTrustBundleAttest", allowed=(right,)).admit(bundle("new"), bundle())


async def test_the_oldest_two_say_yes_and_no() -> None:
    made = from_builtins(ConfigMap, {"metadata": {"name": "c", "namespace": "x"}})
    await World("AlwaysAdmit").admit(made)
    assert "admission control is denying all modifications" in await World("AlwaysDeny").refuses(made)
