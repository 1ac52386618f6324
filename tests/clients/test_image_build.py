"""`kybern image` as people use it: built from a directory, run by kubectl, pushed to the node's own registry."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Cluster, free_port, until
from oci_images import busybox, docker_archive

pytestmark = pytest.mark.clients


def test_an_image_is_built_run_tagged_saved_and_pruned(cluster: Cluster, tmp_path: Path) -> None:
    base = tmp_path / "base.tar"
    base.write_bytes(docker_archive(busybox(), "example.com/base:1"))
    cluster.kybern("image", "load", str(base))
    (tmp_path / "Dockerfile").write_text(
        "FROM example.com/base:1\nARG WHO=nobody\nRUN echo hello $WHO > /hello\nCMD cat /hello\n"
    )
    built = cluster.kybern("image", "build", "-t", "app:1", "--build-arg", "WHO=world", str(tmp_path))
    assert built.stdout.startswith("sha256:") and "[3/4] RUN echo hello $WHO > /hello" in built.stderr
    again = cluster.kybern("image", "build", "-t", "app:1", "--build-arg", "WHO=world", str(tmp_path))
    assert again.stdout == built.stdout and "cached" in again.stderr
    cluster.kubectl("run", "built", "--image=app:1", "--restart=Never")
    until(lambda: cluster.succeeded("built"))
    assert cluster.kubectl("logs", "built") == "hello world\n"
    cluster.kubectl("delete", "pod", "built", "--now")
    cluster.kybern("image", "tag", "app:1", "example.com/app:2")
    cluster.kybern("image", "save", "-o", str(tmp_path / "saved.tar"), "example.com/app:2")
    assert subprocess.run(["skopeo", "inspect", f"docker-archive:{tmp_path}/saved.tar"], check=False).returncode == 0
    assert "freed" in cluster.kybern("image", "prune").stdout


def test_a_wrong_dockerfile_is_one_line_and_an_exit_code(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY nothing /\n")
    failed = cluster.kybern("image", "build", str(tmp_path), check=False)
    assert failed.returncode == 1 and failed.stderr.splitlines()[-1] == '✗ "/nothing": not found'
    missing = cluster.kybern("image", "build", str(tmp_path / "none"), check=False)
    assert missing.returncode == 1 and "no such file or directory" in missing.stderr


def test_what_skopeo_pushes_runs_under_the_name_it_was_pushed_by(
    make_cluster: Callable[[], Cluster], tmp_path: Path
) -> None:
    cluster, port = make_cluster(), free_port()
    cluster.kybern("up", "--port", str(cluster.port), "--node-name", "pushed-to", "--registry-port", str(port))
    archive = tmp_path / "image.tar"
    archive.write_bytes(docker_archive(busybox(), "example.com/x:1"))
    target = f"docker://localhost:{port}/x:1"
    subprocess.run(["skopeo", "copy", "-q", "--dest-tls-verify=false", f"docker-archive:{archive}", target], check=True)
    image = f"localhost:{port}/x:1"
    cluster.kubectl(
        "run", "pushed", f"--image={image}", "--restart=Never", "--image-pull-policy=Always", "--", "echo", "ok"
    )
    until(lambda: cluster.succeeded("pushed"))
    assert cluster.kubectl("logs", "pushed") == "ok\n"
    cluster.kybern("down")
