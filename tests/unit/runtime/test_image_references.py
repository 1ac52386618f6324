"""Image names, by docker's rules."""

import pytest

from kybern.runtime.cri import RuntimeFault
from kybern.runtime.images.reference import parse

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("user/app", "docker.io/user/app:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1"),
        ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
        ("a__b/c-d.e_f", "docker.io/a__b/c-d.e_f:latest"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"nginx:1@{DIGEST}", f"docker.io/library/nginx:1@{DIGEST}"),
        ("kybern.local/host", "kybern.local/host:latest"),
    ],
)
def test_a_name_is_completed(text: str, name: str) -> None:
    assert parse(text).name == name


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "Nginx", "nginx:", ":tag", "nginx@", "nginx@sha256:abc", "nginx@md5:" + "a" * 32, "a//b", "/a", "a/",
        "../etc/passwd", "docker.io/../x", "nginx:../x", "a b", "nginx\n", "nginx:la\ntest", "x" * 5000, "a" * 64,
        "nginx:" + "t" * 129, "exa mple.com/x", "-a/b", "a/-b", "http://x/y", "x:y:z", "ñ/x", "٣",
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(RuntimeFault, match="invalid reference format") as refused:
        parse(text)
    assert refused.value.reason == "InvalidImageName"
    assert len(refused.value.message) < 1200


def test_an_upper_case_name_is_told_apart() -> None:
    with pytest.raises(RuntimeFault, match=r"repository name \(library/Nginx\) must be lowercase"):
        parse("Nginx")
