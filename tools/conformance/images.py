"""images.py PLACE: what the suite's pods run, made of this machine's programs; prints a line `CONTEXT -t NAME -t NAME` an image.

The suite names images of public registries. These stand in for them, under the same names, so that it needs none: the
suite's own programs (built from its source), busybox, and the tools that its scripts call, each with its libraries.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

E2E = "gcr.io/kubernetes-e2e-test-images"
LIBRARY = "docker.io/library"
DIRECTORIES = (
    "bin",
    "sbin",
    "etc",
    "tmp",
    "usr/bin",
    "usr/sbin",
    "usr/local/bin",
    "root",
    "var",
    "home",
    "proc",
    "dev",
    "sys",
)
USERS = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
TOOLS = ("curl", "wget", "dig", "nslookup", "host", "getent", "bash", "nc", "ip", "ss")
RESOLVING = ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2")
"""What glibc opens by name, so that `ldd` does not tell of it."""


class Image:
    """A context for `kybern image build`: a root file system beside a Dockerfile."""

    def __init__(self, place: Path, name: str, *tags: str) -> None:
        self.context, self.tags = place / "images" / name, tags
        self.root = self.context / "root"
        shutil.rmtree(self.context, ignore_errors=True)
        for directory in DIRECTORIES:
            (self.root / directory).mkdir(parents=True)
        (self.root / "tmp").chmod(0o1777)
        self.copy(Path("/bin/busybox"), "bin/busybox")
        for applet in output("busybox", "--list-full").split():
            for path in (self.root / applet, self.root / "bin" / Path(applet).name):  # as Alpine has them, and busybox
                path.parent.mkdir(parents=True, exist_ok=True)
                if not os.path.lexists(path):
                    path.symlink_to("/bin/busybox")
        self.write("etc/passwd", USERS)
        self.write("etc/group", "root:x:0:\nnogroup:x:65534:\n")
        self.write("etc/nsswitch.conf", "hosts: files dns\n")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def copy(self, source: Path, path: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        shutil.copy2(source.resolve(), target)

    def tool(self, name: str) -> None:
        """A program of this machine, where the path finds it before busybox's."""
        program = shutil.which(name)
        if program is None:
            sys.exit(f"{name} is missing")
        self.program(Path(program), f"usr/local/bin/{name}")

    def program(self, source: Path, path: str) -> None:
        """With its libraries, if it has any."""
        self.copy(source, path)
        told = subprocess.run(("ldd", source), capture_output=True, text=True, check=False).stdout
        libraries = [word for word in told.split() if word.startswith("/")]
        for library in (*libraries, *(f"/lib/{os.uname().machine}-linux-gnu/{name}" for name in RESOLVING)):
            self.copy(Path(library), library.lstrip("/"))

    def finish(self, *instructions: str) -> None:
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        lines = ("FROM scratch", "COPY root/ /", f"ENV {path}", *instructions)
        (self.context / "Dockerfile").write_text("\n".join(lines) + "\n")
        print(self.context, *(f"-t {tag}" for tag in self.tags), flush=True)


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main(place: Path) -> None:
    images, built = place / "kubernetes/test/images", place / "bin"

    def with_tools(name: str, *tags: str) -> Image:
        image = Image(place, name, *tags)
        for tool in TOOLS:
            image.tool(tool)
        image.copy(Path("/bin/dash"), "bin/sh")  # busybox's own prefers its applets to what the path finds
        image.copy(built / "agnhost", "agnhost")
        (image.root / "agnhost-2").symlink_to("agnhost")
        (image.root / "uploads").mkdir()
        for file in ("localhost.crt", "localhost.key"):
            image.copy(images / "agnhost/porter" / file, file)
        return image

    def web(name: str, documents: str, *tags: str) -> None:
        image = Image(place, name, *tags)
        image.write(f"{documents}/index.html", "<html><body><h1>It works!</h1></body></html>\n")
        image.write(
            "usr/local/bin/httpd-foreground", f"#!/bin/sh\nexec busybox httpd -f -p 80 -h /{documents}\n", 0o755
        )
        image.finish("EXPOSE 80", 'CMD ["httpd-foreground"]')

    def program(path: str, source: Path, *tags: str) -> None:
        image = Image(place, Path(path).name, *tags)
        image.program(source, path)
        image.finish(f'ENTRYPOINT ["/{path}"]')

    with_tools("agnhost", "k8s.gcr.io/e2e-test-images/agnhost:2.21").finish('ENTRYPOINT ["/agnhost"]', 'CMD ["pause"]')
    with_tools("dnsutils", f"{E2E}/jessie-dnsutils:1.0").finish('CMD ["sh"]')
    for name in ("nautilus", "kitten"):
        image = with_tools(name, f"{E2E}/{name}:1.0")
        for file in (images / name / "html").iterdir():
            image.copy(file, file.name)
        image.finish('ENTRYPOINT ["/agnhost"]', 'CMD ["test-webserver"]')
    Image(place, "busybox", f"{LIBRARY}/busybox:1.29").finish('CMD ["sh"]')
    Image(place, "nonroot", f"{E2E}/nonroot:1.0").finish("USER 1234", 'CMD ["sh"]')
    with_tools("pause", "k8s.gcr.io/pause:3.2").finish('ENTRYPOINT ["/agnhost", "pause"]')
    web("httpd", "usr/local/apache2/htdocs", f"{LIBRARY}/httpd:2.4.38-alpine", f"{LIBRARY}/httpd:2.4.39-alpine")
    web("nginx", "usr/share/nginx/html", f"{LIBRARY}/nginx:1.14-alpine", f"{LIBRARY}/nginx:1.15-alpine")
    program("usr/local/bin/etcd", place / "programs/usr/bin/etcd", "k8s.gcr.io/etcd:3.4.13-0")
    program("consumer", built / "resource-consumer", f"{E2E}/resource-consumer:1.5")
    program("regression-issue-74839", built / "regression-issue-74839", f"{E2E}/regression-issue-74839-amd64:1.0")
    escalating = Image(place, "nonewprivs", f"{E2E}/nonewprivs:1.0")
    escalating.copy(built / "nonewprivs", "usr/local/bin/nnp")
    (escalating.root / "usr/local/bin/nnp").chmod(0o6755)
    escalating.finish('CMD ["nnp"]')
    program("kube-sample-apiserver", built / "sample-apiserver", f"{E2E}/sample-apiserver:1.17")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
