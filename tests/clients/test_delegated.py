"""An ordinary user who was given a part of the cgroups (v2): what is given is enforced, by the kernel.

Which controllers there are is the machine's affair: where all but `hugetlb` are bound to v1, huge pages are what can be limited.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import free_port, until
from huge_pages import huge_pages
from ordinary_users import User, obstacle, ordinary_user

from kybern.linux import cgroups, mounts

pytestmark = pytest.mark.clients

PAGES = 8  # of 2 MiB
TRIES = """
import mmap, time
def tried(megabytes):
    try:
        found = mmap.mmap(-1, megabytes << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)
        found[0] = found[-1] = 1
    except OSError as error:
        return error.strerror
    found.close()
    return "given"
print(tried(2), tried(4), tried(6), sep=", ", flush=True)
while True:
    sum(range(10_000))
    time.sleep(0.01)
"""


@dataclass(frozen=True)
class Given:
    user: User
    group: str

    def kubectl(self, *words: str, **how: Any) -> str:
        return self.user.kubectl(*words, **how)


@dataclass(frozen=True)
class Entering(User):
    """Whose command is begun in the group, which must be empty afterwards: a group that hands controllers down is."""

    group: str = ""

    def command(self, *words: str) -> list[str]:
        return ["/bin/sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', self.group, *super().command(*words)]


@pytest.fixture(scope="module")
def given() -> Iterator[Given]:
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl; install it with: apt-get install -y kubernetes-client")
    tree = next((point.path for point in mounts.mount_points() if point.fstype == "cgroup2"), "")
    if not tree or "hugetlb" not in Path(tree, "cgroup.subtree_control").read_text():
        pytest.skip("there is no v2 tree here that limits huge pages")
    with ordinary_user() as found, huge_pages(PAGES):
        if why_not := obstacle(found):
            pytest.skip(why_not)
        group = Path(tree, f"kybern-test-{found.number}")
        group.mkdir()
        for path in (group, *(group / f"cgroup.{name}" for name in ("procs", "threads", "subtree_control"))):
            os.chown(path, found.number, found.number)
        entering = Entering(found.name, found.number, found.home, found.python, group=str(group))
        try:
            entering.kybern("up", "--port", str(free_port()), "--node-name", "mine")
            yield Given(found, str(group))
        finally:
            found.kybern("reset", check=False)
            cgroups.remove_tree(str(group))


def pod(given: Given, name: str, limits: Mapping[str, str], **spec: Any) -> None:
    resources = {"limits": {"memory": "64Mi", **limits}}
    container = {"name": "c", "image": "kybern.local/host", "command": ["python3", "-c", TRIES], "resources": resources}
    metadata = {"name": name, "annotations": {"kybern.io/preemption": "pause"}}
    whole = {"containers": [container], "terminationGracePeriodSeconds": 0, **spec}
    made = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": whole}
    given.kubectl("apply", "-f", "-", stdin=json.dumps(made))


def more_than_half(given: Given) -> str:
    """Of the node's processors."""
    told = given.kubectl("get", "node", "mine", "-o", "jsonpath={.status.allocatable.cpu}")
    return f"{int(told[:-1]) * 6 // 10 if told.endswith('m') else int(told) * 600}m"


def logs(given: Given, name: str) -> str:
    until(lambda: given.kubectl("logs", name, check=False) != "")
    return given.kubectl("logs", name).strip()


def test_huge_pages_are_limited_as_the_container_says_and_none_are_had_without_a_limit(given: Given) -> None:
    pod(given, "four", {"cpu": more_than_half(given), "hugepages-2Mi": "4Mi"})
    pod(given, "none", {"cpu": "100m"})
    assert logs(given, "four") == "given, given, Cannot allocate memory"
    assert logs(given, "none") == ", ".join(["Cannot allocate memory"] * 3)
    limits = [file.read_text().strip() for file in Path(given.group).rglob("pod*-*/*/hugetlb.2MB.max")]
    assert sorted(limits) == ["0", str(4 << 20)], "of the containers"


def test_a_pod_is_frozen_and_goes_on_and_what_it_uses_is_known(given: Given) -> None:
    def worked() -> int:
        """Nanoseconds, by the node's own measure."""
        summary = json.loads(given.kubectl("get", "--raw", "/api/v1/nodes/mine/proxy/stats/summary"))
        [found] = [each for each in summary["pods"] if each["podRef"]["name"] == "four"]
        return int(found["containers"][0]["cpu"]["usageCoreNanoSeconds"])

    def frozen() -> int:
        events = [file.read_text() for file in Path(given.group).rglob("pod*-*/*/cgroup.events")]
        return sum("frozen 1" in text for text in events)

    began = worked()
    until(lambda: worked() > began)
    given.kubectl("create", "priorityclass", "urgent", "--value=1000")
    pod(given, "urgent", {"cpu": more_than_half(given)}, priorityClassName="urgent")
    assert logs(given, "urgent")
    assert frozen() == 1
    still = worked()
    assert worked() == still
    given.kubectl("delete", "pod", "urgent", "--now")
    until(lambda: not frozen() and worked() > still)


def test_what_is_deleted_leaves_no_group(given: Given) -> None:
    given.kubectl("delete", "pod", "four", "none", "--now")
    until(lambda: not list(Path(given.group).rglob("pod*-*")))
