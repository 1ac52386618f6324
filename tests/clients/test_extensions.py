"""A cluster extended in Python, from the command line: files are loaded, loaded again, and refused."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import PROJECT, Cluster, until

pytestmark = pytest.mark.clients
EXAMPLES = PROJECT / "examples" / "05-extensions"


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rules") / "pinned_images.py"
    path.write_text((EXAMPLES / "pinned_images.py").read_text())
    return path


@pytest.fixture(scope="module")
def extended(make_cluster: Callable[[], Cluster], rules: Path) -> Iterator[Cluster]:
    made = make_cluster()
    files = (rules, EXAMPLES / "shared_config.py", EXAMPLES / "quiet_nodes.py")
    extensions = [word for file in files for word in ("--extension", str(file))]
    made.kybern("up", "--simulated", "--simulated-nodes", "3", "--port", str(made.port), *extensions)
    yield made
    made.kybern("reset", check=False)


def refused(cluster: Cluster, *words: str) -> str:
    done = subprocess.run(
        ["kubectl", *words], env=cluster.environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stderr if done.returncode else ""


def test_an_image_without_a_tag_is_refused_and_another_is_limited(extended: Cluster) -> None:
    assert "pin 'nginx', it changes under you" in refused(extended, "run", "web", "--image=nginx")
    extended.kubectl("run", "web", "--image=nginx:1.27")
    limits = extended.kubectl("get", "pod", "web", "-o", "jsonpath={.spec.containers[0].resources.limits.memory}")
    assert limits == "256Mi"


def test_config_appears_in_every_namespace(extended: Cluster) -> None:
    extended.kubectl("create", "namespace", "team")
    extended.kubectl("create", "configmap", "motd", "--from-literal=text=hello")
    extended.kubectl("label", "configmap", "motd", "share=everywhere")
    read = ("get", "configmap", "motd", "-n", "team", "-o", "jsonpath={.data.text}", "--ignore-not-found")
    until(lambda: extended.kubectl(*read) == "hello")


def test_the_scheduler_asks_the_rules(extended: Cluster) -> None:
    nodes = extended.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").split()
    green, *others = nodes
    extended.kubectl("label", "node", green, "power=green")
    extended.kubectl("label", "node", *others, "builds=yes")
    extended.kubectl("run", "calm", "--image=nginx:1.27", "--labels=quiet=yes")
    extended.kubectl("run", "any", "--image=nginx:1.27")
    for name in ("calm", "any"):
        extended.kubectl("wait", f"pod/{name}", "--for=condition=PodScheduled", "--timeout=20s")
        assert extended.kubectl("get", "pod", name, "-o", "jsonpath={.spec.nodeName}") == green


def test_a_saved_change_counts_and_a_broken_one_does_not(extended: Cluster, rules: Path) -> None:
    text = rules.read_text()
    rules.write_text(text.replace("it changes under you", "please"))
    until(lambda: "please" in refused(extended, "run", "x", "--image=nginx", "--dry-run=server"))
    rules.write_text("def broken(:\n")
    until(lambda: "SyntaxError" in (extended.data_dir / "logs" / "server.log").read_text())
    assert "please" in refused(extended, "run", "x", "--image=nginx", "--dry-run=server")


def test_a_broken_file_is_refused_at_the_start(make_cluster: Callable[[], Cluster], tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("x = 1 / 0\n")
    made = make_cluster()
    done = made.kybern("up", "--simulated", "--port", str(made.port), "--extension", str(path), check=False)
    assert done.returncode != 0
    assert "ZeroDivisionError" in done.stderr and f'File "{path}", line 1' in done.stderr
