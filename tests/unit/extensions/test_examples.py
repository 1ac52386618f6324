"""The examples do what they say: in an API server with admission, in a whole simulated cluster, in the scheduler."""

from pathlib import Path
from typing import Any

from admitted_api import admitted_api

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import ConfigMap, Namespace, Node, Pod
from kybern.api.meta_v1 import ObjectMeta
from kybern.apiserver.admission.extensions import ExtensionRules
from kybern.cmd.extensions import run_extension_controllers, with_rules
from kybern.extensions.files import Extensions
from kybern.scheduler.extension_points import Profile
from kybern.testing import cluster as simulated
from kybern.testing.virtual import run

EXAMPLES = Path(__file__).parents[3] / "examples" / "05-extensions"
PODS = "/api/v1/namespaces/default/pods"


def pod(image: str = "nginx:1.27", **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": "web", "labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}}


async def test_images_are_pinned_and_pods_limited() -> None:
    async with admitted_api() as api:
        found = Extensions([EXAMPLES / "pinned_images.py"])
        rules = ExtensionRules(api.inputs, lambda: found.admission)
        api.server.machine.use((*api.server.machine.plugins, rules))
        for image in ("nginx", "nginx:latest", "registry:5000/team/nginx"):
            refused = await api.post(PODS, pod(image))
            assert refused.status == 403
            assert refused.message == (f"pods \"web\" is forbidden: container 'c': pin '{image}', it changes under you")
        made = await api.made(PODS, pod("registry:5000/team/nginx:1"))
    assert made["spec"]["containers"][0]["resources"]["limits"] == {"memory": "256Mi"}


async def test_a_rule_that_fails_refuses_and_says_where(tmp_path: Path) -> None:
    path = tmp_path / "failing.py"
    path.write_text(
        "from kybern.api.core_v1 import Pod\nfrom kybern.extensions import mutates, validates\n"
        "@validates(Pod)\ndef failing(pod): return pod.nope\n"
    )
    async with admitted_api() as api:
        found = Extensions([path])
        api.server.machine.use((*api.server.machine.plugins, ExtensionRules(api.inputs, lambda: found.admission)))
        refused = await api.post(PODS, pod())
        assert refused.status == 500
        assert (
            f"extension failing in {path} failed: AttributeError: 'Pod' object has no attribute 'nope'"
            in refused.message
        )
        path.write_text(
            path.read_text().replace(
                "@validates(Pod)\ndef failing(pod): return pod.nope", "@mutates(Pod)\ndef empty(pod): pass"
            )
        )
        found.look()
        refused = await api.post(PODS, pod())
    assert refused.message.endswith("failed: TypeError: it returned NoneType, not a Pod")


async def test_a_rule_may_ask_who_asks_and_what_was(tmp_path: Path) -> None:
    path = tmp_path / "keeping.py"
    path.write_text(
        "from kybern.api.core_v1 import ConfigMap\nfrom kybern.extensions import Refused, validates\n"
        "@validates(ConfigMap, on=('UPDATE', 'DELETE'))\n"
        "def kept(config_map, request):\n"
        "    raise Refused(f'{request.operation} by {request.user} of {(request.old or config_map).data}')\n"
    )
    maps = "/api/v1/namespaces/default/configmaps"
    async with admitted_api() as api:
        found = Extensions([path])
        api.server.machine.use((*api.server.machine.plugins, ExtensionRules(api.inputs, lambda: found.admission)))
        await api.made(maps, {"metadata": {"name": "a"}, "data": {"k": "v"}})
        changed = await api.patch(f"{maps}/a", {"data": {"k": "w"}})
        gone = await api.delete(f"{maps}/a")
    assert changed.message.endswith("UPDATE by admin of {'k': 'v'}")
    assert gone.message.endswith("DELETE by admin of {'k': 'v'}")


async def test_what_a_node_reports_is_not_asked_about(tmp_path: Path) -> None:
    """Or a rule that came later would take the pods that are there from their nodes."""
    path = tmp_path / "nothing.py"
    path.write_text(
        "from kybern.api.core_v1 import Pod\nfrom kybern.extensions import Refused, validates\n"
        "@validates(Pod, on=('UPDATE',))\ndef nothing(pod): raise Refused('no')\n"
    )
    async with admitted_api() as api:
        found = Extensions([path])
        api.server.machine.use((*api.server.machine.plugins, ExtensionRules(api.inputs, lambda: found.admission)))
        await api.made(PODS, pod())
        assert (await api.patch(f"{PODS}/web", {"metadata": {"labels": {"a": "b"}}})).status == 403
        assert (await api.patch(f"{PODS}/web/status", {"status": {"phase": "Running"}})).status == 200
        binding = {"metadata": {"name": "web"}, "target": {"kind": "Node", "name": "n"}}
        assert (await api.post(f"{PODS}/web/binding", binding)).status == 201


async def test_custom_kinds_are_named_and_come_as_dicts(tmp_path: Path) -> None:
    path = tmp_path / "widgets.py"
    path.write_text(
        "from kybern.extensions import Refused, mutates, validates\n"
        "@mutates('widgets.example.com')\n"
        "def sized(widget): return widget.changed(size=widget.get('size', 1) * 2)\n"
        "@validates('widgets.example.com')\n"
        "def small(widget):\n"
        "    if widget['size'] > 10: raise Refused(f'{widget.metadata.name} is too large')\n"
    )
    size = {"type": "object", "properties": {"size": {"type": "integer"}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": size}}
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}
    widgets = "/apis/example.com/v1/namespaces/default/widgets"

    def widget(name: str, size: int) -> dict[str, Any]:
        return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "size": size}

    async with admitted_api() as api:
        found = Extensions([path])
        api.server.machine.use((*api.server.machine.plugins, ExtensionRules(api.inputs, lambda: found.admission)))
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        await api.made(definitions, {"metadata": {"name": "widgets.example.com"}, "spec": spec})
        await api.served(widgets)
        assert (await api.made(widgets, widget("a", 3)))["size"] == 6
        assert (await api.post(widgets, widget("b", 6))).message.endswith("b is too large")


def test_config_is_shared_with_every_namespace_and_a_change_of_the_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "shared_config.py"
    path.write_text((EXAMPLES / "shared_config.py").read_text())

    async def scenario() -> None:
        async with simulated.running() as made:
            found = Extensions([path])
            beside = made.tasks.create_task(run_extension_controllers(found, made.client, made.clock, made.ids))
            await made.client.create(Namespace(metadata=ObjectMeta(name="team")))
            meta = ObjectMeta(name="motd", namespace="default", labels={"share": "everywhere"})
            await made.client.create(ConfigMap(metadata=meta, data={"text": "hello"}))
            await made.settle()
            assert (await made.client.get(ConfigMap, "motd", "team")).data == {"text": "hello"}
            path.write_text(path.read_text().replace('"everywhere"', '"here"') + "\n# another size\n")
            found.look()
            meta = ObjectMeta(name="other", namespace="default", labels={"share": "here"})
            await made.client.create(ConfigMap(metadata=meta, data={"text": "new"}))
            await made.settle()
            assert (await made.client.get(ConfigMap, "other", "team")).data == {"text": "new"}
            beside.cancel()

    run(scenario())


def test_the_scheduler_keeps_quiet_pods_from_builds_and_prefers_green_nodes() -> None:
    found = Extensions([EXAMPLES / "quiet_nodes.py"])
    profile = with_rules(Profile(), lambda: found.scheduling)
    (filter_,), (weighted,) = profile.filters, profile.scorers
    nodes = Places(node("plain"), node("building", builds="yes"), node("sunny", power="green"))
    quiet, loud = typed(pod(quiet="yes")), typed(pod())
    assert filter_.filter(quiet, nodes).tolist() == [True, False, True]
    assert filter_.filter(loud, nodes).tolist() == [True, True, True]
    assert filter_.reasons(quiet, Places(nodes.found[1])) == {"node(s) had builds": 1}
    assert weighted.plugin.score(loud, nodes).tolist() == [0, 0, 100]


class Places:
    """The nodes that a rule is asked about."""

    def __init__(self, *found: Node) -> None:
        self.found = found

    def objects(self) -> tuple[Node, ...]:
        return self.found

    def __len__(self) -> int:
        return len(self.found)


def node(name: str, **labels: str) -> Node:
    return Node(metadata=ObjectMeta(name=name, labels=labels))


def typed(found: dict[str, Any]) -> Pod:
    return from_builtins(Pod, found)
