"""What a View keeps of objects that are alike: each part once, and nothing changed."""

from typing import Any

from kybern.api.codec import encode, from_builtins
from kybern.api.core_v1 import Pod
from kybern.client.cache import Cache
from kybern.client.client import WatchEvent
from kybern.client.sharing import sharing


def pod(name: str, node: str = "", phase: str = "Pending", **labels: str) -> Pod:
    volume = {"name": f"kube-api-access-{name}", "projected": {"sources": [{"secret": {"name": "s"}}]}}
    mounts = [{"name": volume["name"], "mountPath": "/var/run"}]
    container = {
        "name": "c", "image": "i:1", "resources": {"requests": {"cpu": "1"}}, "volumeMounts": mounts,
        "env": [{"name": "A", "value": "1"}],
    }  # fmt: skip
    spec: dict[str, Any] = {"containers": [container], "volumes": [volume], "tolerations": [{"key": "k"}]}
    meta = {"name": name, "namespace": "a", "uid": name, "labels": {"app": "x", **labels}}
    return from_builtins(
        Pod, {"metadata": meta, "spec": {**spec, **({"nodeName": node} if node else {})}, "status": {"phase": phase}}
    )


def test_pods_of_one_template_share_what_they_have_in_common_and_stay_what_they_are() -> None:
    one, other = pod("one"), pod("two", node="n1")
    shared = sharing(other, one)
    assert encode(shared) == encode(other) and shared == other
    assert shared.spec.tolerations is one.spec.tolerations
    assert shared.metadata.labels is one.metadata.labels
    mine, theirs = shared.spec.containers[0], one.spec.containers[0]
    assert mine.resources is theirs.resources and mine.env is theirs.env
    assert shared.spec.volumes[0].projected is one.spec.volumes[0].projected  # type: ignore[index]
    assert mine.volume_mounts[0].name == "kube-api-access-two"  # type: ignore[index]


def test_what_differs_in_kind_or_number_is_shared_nowhere() -> None:
    one = pod("one")
    two = from_builtins(Pod, {"metadata": {"name": "b"}, "spec": {"containers": []}})
    assert encode(sharing(two, one)) == encode(two)
    assert sharing((1, 2), (1,)) == (1, 2)
    assert sharing(True, 1) is True


def test_a_cache_keeps_an_object_s_parts_through_its_changes_and_shares_them_with_the_next() -> None:
    cache: Cache[Pod] = Cache(lambda: None)
    told: list[Any] = []
    cache.listeners.append(lambda old, new: told.append((old, new)))
    cache.apply([WatchEvent("ADDED", pod("one"))])
    first = cache.objects["a", "one"]
    cache.apply([WatchEvent("MODIFIED", pod("one", phase="Running"))])
    changed = cache.objects["a", "one"]
    assert changed.spec is first.spec and changed.status.phase == "Running"
    cache.apply([WatchEvent("ADDED", pod("two"))])
    assert cache.objects["a", "two"].spec.tolerations is first.spec.tolerations
    assert [(old and old.status.phase, new and new.status.phase) for old, new in told] == [
        (None, "Pending"), ("Pending", "Running"), (None, "Pending"),
    ]  # fmt: skip
