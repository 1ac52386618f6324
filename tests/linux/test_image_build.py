"""Images built from Dockerfiles, with real containers and real layers; each test builds on the test registry's busybox."""

import functools
import gzip
import http.server
import io
import json
import os
import random
import shutil
import socket
import subprocess
import tarfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from image_registry import image_registry
from oci_images import busybox
from warden_process import native, node

from kybern.aio.clock import SystemClock
from kybern.linux import cgroup_detect
from kybern.runtime.build.builder import Builder
from kybern.runtime.build.dockerfile import DockerfileError
from kybern.runtime.build.work import BuildOrder
from kybern.runtime.cleanup import remove_group
from kybern.runtime.cri import ContainerConfig, ContainerMetadata, ContainerState, PodSandboxConfig, SandboxMetadata
from kybern.runtime.native import NativeRuntime

pytestmark = pytest.mark.linux


@dataclass
class Bench:
    base: Path
    runtime: NativeRuntime
    builder: Builder
    image: str
    context: Path
    news: list[Mapping[str, Any]] = field(default_factory=list)

    def file(self, name: str, content: str = "", mode: int = 0o644) -> Path:
        path = self.context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(mode)
        return path

    async def build(
        self, dockerfile: str, meanwhile: Callable[[], Awaitable[object]] | None = None, **fields: Any
    ) -> str:
        """The image's id. `meanwhile`: what is done whenever there is news of it."""
        path = self.base / "Dockerfile"
        path.write_text(dockerfile.replace("BUSYBOX", self.image))
        self.news = []

        async def note(news: Mapping[str, Any]) -> None:
            self.news.append(news)
            if meanwhile is not None:
                await meanwhile()

        order = BuildOrder(context=str(self.context), dockerfile=str(path), **{"tags": ("test/app",), **fields})
        return (await self.builder.build(order, note))[0]

    async def refused(self, dockerfile: str, **fields: Any) -> str:
        with pytest.raises(DockerfileError) as error:
            await self.build(dockerfile, **fields)
        return str(error.value)

    @property
    def lines(self) -> list[str]:
        return [each["line"] for each in self.news if "line" in each]

    @property
    def cached(self) -> int:
        return sum("cached" in each for each in self.news)

    def config(self, image: str) -> dict[str, Any]:
        return json.loads(self.runtime.images.layout.read(image, 1 << 20))

    def top(self) -> dict[str, tarfile.TarInfo]:
        """The entries of the newest layer."""
        layout = self.runtime.images.layout
        found = self.runtime.images.find("test/app")
        assert found is not None
        layers = json.loads(layout.read(found.digest, 1 << 20))["layers"]
        data = gzip.decompress(layout.path(layers[-1]["digest"]).read_bytes())
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            return {entry.name: entry for entry in tar}

    async def output(self, *command: str, image: str = "test/app") -> list[str]:
        """What a container of the image writes."""
        metadata = SandboxMetadata(name="p", namespace="d", uid="u")
        sandbox = await self.runtime.run_pod_sandbox(
            PodSandboxConfig(metadata=metadata, log_directory=str(self.base / "logs"), cgroup_parent=group(self.base))
        )
        ready = self.runtime.images.get(image)
        assert ready is not None
        config = ContainerConfig(
            metadata=ContainerMetadata(name="c"),
            image=ready.id,
            args=command,
            log_path=f"{len(os.listdir(self.base))}.log",
        )
        container = await self.runtime.create_container(sandbox, config)
        await self.runtime.start_container(container)
        while (await self.runtime.container_status(container)).state != ContainerState.EXITED:
            await anext(self.runtime.events())
        lines = Path(self.runtime.records.get(container).log_path).read_text().splitlines()
        await self.runtime.remove_pod_sandbox(sandbox)
        Path(self.base / "logs" / config.log_path).unlink()
        return [line.split(" ", 3)[3] for line in lines]


def group(base: Path) -> str:
    return f"/kybern-test/{base.name}"


@asynccontextmanager
async def bench_at(base: Path) -> AsyncIterator[Bench]:
    async with image_registry() as registry, node(base) as made:
        registry.add("test/busybox", busybox())
        try:
            async with native(made) as runtime:
                image = f"{registry.address}/test/busybox"
                await runtime.pull_image(image)
                context = base / "context"
                context.mkdir()
                builder = Builder(runtime, base / "build", group(base), SystemClock())
                yield Bench(base, runtime, builder, image, context)
                assert not runtime.sandboxes.by_id and not runtime.records.by_id, "a build leaves no container"
        finally:
            remove_group(cgroup_detect.detect(), group(base))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench_at(tmp_path) as made:
        yield made


async def test_what_is_built_runs(bench: Bench) -> None:
    bench.file("hello.txt", "hello\n")
    image = await bench.build(
        "FROM BUSYBOX\nENV WHO=world\nWORKDIR /app\nCOPY hello.txt .\nRUN echo $WHO >> hello.txt && ln hello.txt twin\n"
        'ENTRYPOINT ["cat"]\nCMD ["hello.txt"]\n'
    )
    assert await bench.output() == ["hello", "world"]
    assert await bench.output("twin") == ["hello", "world"]
    assert bench.config(image)["config"]["WorkingDir"] == "/app"
    assert len(bench.config(image)["rootfs"]["diff_ids"]) == 2 + 3
    assert set(bench.top()) == {"app", "app/hello.txt", "app/twin"}, "mount points are no change"


async def test_a_second_build_takes_every_layer_from_the_first_and_is_the_same_image(bench: Bench) -> None:
    bench.file("a", "1")
    text = "FROM BUSYBOX\nARG X=1\nCOPY a /a\nRUN echo built; cat /a > /b; echo $X >> /b\nENV DONE=1\n"
    first = await bench.build(text)
    assert bench.lines == ["built"] and bench.cached == 0
    assert await bench.build(text) == first and bench.lines == [] and bench.cached == 2
    os.utime(bench.context / "a", (1, 1))
    assert await bench.build(text) == first and bench.cached == 2, "times do not count"
    assert await bench.build(text, arguments={"X": "2"}) != first and bench.cached == 1, "an argument is seen by RUN"
    bench.file("a", "2")
    assert await bench.build(text) != first and bench.cached == 0 and bench.lines == ["built"]


async def test_a_build_from_nothing_keeps_what_was_copied_exactly(bench: Bench) -> None:
    bench.file("bin/tool", "#!/bin/sh\n", 0o4755)
    bench.file("bin/private", "x", 0o600)
    (bench.context / "bin" / "link").symlink_to("tool")
    await bench.build("FROM scratch\nCOPY --chown=7:8 bin /usr/bin/\nCOPY bin/link /one\n")
    assert bench.top()["one"].isreg(), "a link that is named itself is followed"
    await bench.build("FROM scratch\nCOPY --chown=7:8 bin /usr/bin/\n")
    top = bench.top()
    assert top["usr/bin/tool"].mode == 0o4755 and top["usr/bin/private"].mode == 0o600
    assert top["usr/bin/link"].linkname == "tool" and (top["usr/bin/link"].uid, top["usr/bin/link"].gid) == (7, 8)


async def test_owners_are_looked_up_in_the_image_and_modes_are_set(bench: Bench) -> None:
    bench.file("a")
    await bench.build("FROM BUSYBOX\nCOPY --chown=web:extra --chmod=640 a /x/\n")
    entry = bench.top()["x/a"]
    assert (entry.uid, entry.gid, entry.mode) == (1000, 2000, 0o640)
    assert "unable to find user nobody" in await bench.refused("FROM BUSYBOX\nCOPY --chown=nobody a /x/\n")


async def test_ignored_files_take_no_part(bench: Bench) -> None:
    for name in ("keep", "a.log", "d/b.log", "d/c", "secret/key"):
        bench.file(name)
    bench.file(".dockerignore", "*.log\n**/*.log\nsecret\n!d/b.log\n.dockerignore\n")
    await bench.build("FROM scratch\nCOPY . /\n")
    assert set(bench.top()) == {"keep", "d", "d/b.log", "d/c"}
    assert '"/secret": not found' in await bench.refused("FROM scratch\nCOPY secret /\n")


async def test_patterns_choose_and_excludes_leave_out(bench: Bench) -> None:
    for name in ("a.py", "b.py", "c.txt", "d/e.py"):
        bench.file(name)
    await bench.build("FROM scratch\nCOPY --exclude=b.* *.py /x/\n")
    assert set(bench.top()) == {"x", "x/a.py"}
    await bench.build("FROM scratch\nCOPY --parents d/*.py /x/\n")
    assert set(bench.top()) == {"x", "x/d", "x/d/e.py"}


async def test_stages_are_built_when_they_are_needed_and_copied_from(bench: Bench) -> None:
    await bench.build(
        "FROM BUSYBOX AS unused\nRUN echo never\nFROM BUSYBOX AS made\nRUN echo made; echo 1 > /out\n"
        "FROM scratch\nCOPY --from=made /out /bin/busybox /bin/\nCOPY --from=BUSYBOX /www /www\n"
    )
    assert bench.lines == ["made"]
    assert await bench.output("/bin/busybox", "cat", "/bin/out", "/www/index.html") == ["1", "hello"]


async def test_removed_files_and_replaced_directories_are_gone_in_the_image(bench: Bench) -> None:
    await bench.build("FROM BUSYBOX\nRUN rm /www/index.html && rm -rf /home && mkdir -p /home/new\n")
    assert {"www/.wh.index.html", "home/.wh..wh..opq", "home/new"} <= set(bench.top())
    assert await bench.output("sh", "-c", "ls /www /home") == ["/home:", "new", "", "/www:"]


async def test_heredocs_are_scripts_and_files(bench: Bench) -> None:
    await bench.build(
        "FROM BUSYBOX\nENV A=1\nCOPY <<one <<'two' /f/\n$A\none\n$A\ntwo\nRUN <<EOF\nset -e\necho script $A\nEOF\n"
        "RUN cat > /g <<EOF\nin $A\nEOF\nRUN <<EOF\n#!/bin/tail -n1\nself\nEOF\n"
    )
    assert bench.lines == ["script 1", "self"]
    assert await bench.output("cat", "/f/one", "/f/two", "/g") == ["1", "$A", "in 1"]


async def test_run_is_shown_caches_secrets_and_files_that_are_not_in_the_image(bench: Bench) -> None:
    bench.file("src/a", "from the context")
    secret = bench.base / "secret"
    secret.write_text("hush")
    text = (
        "FROM BUSYBOX\nRUN --mount=type=cache,target=/c --mount=type=secret,id=k --mount=type=secret,id=k,env=K "
        "--mount=type=bind,source=src,target=/s --mount=type=tmpfs,target=/t "
        "echo x >> /c/n; wc -l < /c/n; cat /run/secrets/k; echo; echo $K; cat /s/a; echo; touch /t/x /done\n"
    )
    await bench.build(text, secrets={"k": str(secret)})
    assert bench.lines == ["1", "hush", "hush", "from the context"]
    assert "done" in bench.top() and not any(
        name.startswith(("c/", "run/secrets/k", "s/", "t/")) for name in bench.top()
    )
    await bench.build(text, secrets={"k": str(secret)}, no_cache=True)
    assert bench.lines[0] == "2"
    bench.file("src/a", "changed")
    await bench.build(text, secrets={"k": str(secret)})
    assert bench.lines[-1] == "changed", "what a step is shown is part of what it depends on"


async def test_add_unpacks_archives_and_copy_does_not(bench: Bench) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        entry = tarfile.TarInfo("in/side")
        entry.size = 2
        tar.addfile(entry, io.BytesIO(b"hi"))
    (bench.context / "a.tgz").write_bytes(data.getvalue())
    await bench.build("FROM scratch\nADD a.tgz /x/\n")
    assert set(bench.top()) == {"x", "x/in", "x/in/side"}
    await bench.build("FROM scratch\nCOPY a.tgz /x/\n")
    assert set(bench.top()) == {"x", "x/a.tgz"}


async def test_add_takes_as_a_file_what_is_no_archive_and_refuses_half_an_archive(bench: Bench) -> None:
    (bench.context / "disk").write_bytes(bytes(20_480))
    await bench.build("FROM scratch\nADD disk /x/\n")
    assert bench.top()["x/disk"].size == 20_480
    with tarfile.open(bench.context / "half.tar", mode="w") as tar:
        for name in ("one", "two"):
            entry = tarfile.TarInfo(name)
            entry.size = 100_000
            tar.addfile(entry, io.BytesIO(random.Random(name).randbytes(entry.size)))
    os.truncate(bench.context / "half.tar", 150_000)
    assert "unexpected end of data" in await bench.refused("FROM scratch\nADD half.tar /x/\n")


async def test_users_shells_and_triggers(bench: Bench) -> None:
    await bench.build(
        'FROM BUSYBOX\nONBUILD RUN echo triggered by $(id -un)\nSHELL ["sh", "-ec"]\nUSER web\nWORKDIR /home/web/w\n'
        "RUN id -u; touch mine\n"
    )
    assert bench.lines == ["1000"]
    await bench.build("FROM test/app\nRUN stat -c %u /home/web/w\n", tags=("test/next",))
    assert bench.lines == ["triggered by web", "1000"]


async def test_a_step_without_a_network_has_only_loopback(bench: Bench) -> None:
    await bench.build("FROM BUSYBOX\nRUN --network=none ip -o link | wc -l\n")
    assert bench.lines == ["1"]


async def test_a_step_that_fails_says_how_and_no_image_is_made(bench: Bench) -> None:
    told = await bench.refused("FROM BUSYBOX\nRUN echo before; exit 3\n")
    assert 'process "/bin/sh -c echo before; exit 3" did not complete successfully: exit code: 3' in told
    assert bench.lines == ["before"] and bench.runtime.images.find("test/app") is None
    assert not list((bench.runtime.images.layout.directory / "building").iterdir())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("FROM scratch\nCOPY ../../etc/passwd /\n", '"/etc/passwd": not found'),
        ("FROM scratch\nCOPY out /\n", '"/out": not found'),
        ("FROM scratch\nCOPY nope* /\n", '"/nope*": not found'),
        ("FROM BUSYBOX\nCOPY a /bin/busybox/x\n", "ot a directory"),
        ("FROM scratch\nRUN true\n", "nothing in scratch"),
        ("FROM kybern.local/host\n", "has no layers that could be built on"),
        ("FROM scratch\nCOPY --from=9 a /\n", "9"),
    ],
)
async def test_what_cannot_be_copied_or_run_is_told(bench: Bench, text: str, told: str) -> None:
    bench.file("a")
    (bench.context / "out").symlink_to("/etc/passwd")
    assert told in await bench.refused(text)


async def test_a_link_in_an_image_leads_nowhere_but_into_the_image(bench: Bench) -> None:
    """COPY through a link of the base must not write to the machine."""
    bench.file("a", "from the context")
    target = bench.base / "victim"
    target.mkdir()
    await bench.build(f"FROM BUSYBOX\nRUN mkdir -p /d && ln -s {target} /d/link\nCOPY a /d/link/\n")
    assert list(target.iterdir()) == []
    assert f"{str(target).lstrip('/')}/a" in bench.top()


async def test_what_is_built_can_be_saved_pushed_and_pulled_again(bench: Bench) -> None:
    image = await bench.build("FROM BUSYBOX\nRUN echo 1 > /one\n")
    images = bench.runtime.images
    archive = bench.base / "saved.tar"
    await images.save(["test/app"], archive)
    await images.remove("test/app")
    assert images.find("test/app") is None
    assert await images.load(archive) == ["docker.io/test/app:latest"]
    assert (images.get("test/app") or 0).id == image  # type: ignore[union-attr]


async def test_layers_of_builds_stay_until_they_are_pruned(bench: Bench) -> None:
    images = bench.runtime.images
    await bench.build("FROM BUSYBOX\nRUN echo 1 > /one\n")
    await images.remove("test/app")
    await bench.build("FROM BUSYBOX\nRUN echo 1 > /one\n")
    assert bench.cached == 1, "the layer was kept for the next build"
    await images.remove("test/app")
    bench.builder.cache.forget_all()
    held = images.layout.bytes_held()
    assert (await images.prune(everything=False))[1] > 0 and images.layout.bytes_held() < held
    await bench.build("FROM BUSYBOX\nRUN echo 1 > /one\n")
    assert bench.cached == 0


async def test_whatever_is_removed_during_a_build_it_has_what_it_began_with(bench: Bench) -> None:
    """Its base, what it copies from, and the layers of its own earlier steps, made and found."""
    images = bench.runtime.images
    await bench.runtime.pull_image(bench.image)
    await bench.build("FROM BUSYBOX\nRUN echo cached > /one\n", tags=("test/first",))

    async def everything_goes() -> None:
        if bench.cached:
            bench.builder.cache.forget_all()
            await images.prune(everything=True)
            assert images.find(bench.image) is None and images.find("test/first") is None

    await bench.build(
        "FROM BUSYBOX\nRUN echo cached > /one\nRUN echo made > /two\nCOPY <<three /three\nlast\nthree\n"
        "RUN cat /one > /four\n",
        meanwhile=everything_goes,
    )
    assert await bench.output("cat", "/one", "/two", "/three", "/four") == ["cached", "made", "last", "cached"]


@asynccontextmanager
async def git_server(root: Path) -> AsyncIterator[tuple[str, str]]:
    """(address of a repository with two branches, the commit of the first): plain files over HTTP."""
    work, bare = root / "work", root / "project.git"
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*words: str) -> str:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        return subprocess.run(
            ["git", *who, *words], cwd=work, env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()

    (work / "sub").mkdir(parents=True)
    git("init", "-q", "-b", "main", ".")
    for name, text in (("a", "first"), ("sub/b", "below")):
        (work / name).write_text(text)
    (work / "out").symlink_to("/etc")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    first = git("rev-parse", "HEAD")
    git("checkout", "-q", "-b", "side")
    (work / "a").write_text("second")
    git("commit", "-q", "-a", "-m", "two")
    git("checkout", "-q", "main")
    git("clone", "-q", "--bare", str(work), str(bare))
    git("--git-dir", str(bare), "update-server-info")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(root))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/project.git", first
        finally:
            server.shutdown()


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git; install it with: apt-get install -y git")
async def test_add_takes_a_repository_at_a_commit_and_run_may_ask_an_ssh_agent(bench: Bench) -> None:
    async with git_server(bench.base) as (url, first):
        text = f"FROM BUSYBOX\nADD {url} /whole\nADD {url}#side:sub /part/\nADD {url}#{first} /pinned\n"
        text += f"ADD --keep-git-dir=true {url}#side /kept\nRUN cat /whole/a /part/b /pinned/a /kept/a; echo; ls -A /whole; ls -d /kept/.git"
        await bench.build(text)
        assert bench.lines == ["firstbelowfirstsecond", "a", "out", "sub", "/kept/.git"]
        await bench.build(text)
        assert bench.cached == 5, "the branches have not moved"
        assert "got" in await bench.refused(f"FROM BUSYBOX\nADD --checksum={'0' * 40} {url} /x\n")
        assert "not found" in await bench.refused(f"FROM BUSYBOX\nADD {url}#main:out /x/\n"), "that is the node's"
        assert "does not contain ref nothing" in await bench.refused(f"FROM BUSYBOX\nADD {url}#nothing /x\n")
    assert "over https only" in await bench.refused("FROM BUSYBOX\nADD git@example.com:a/b.git /x\n")

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(bench.base / "agent"))
    agents = {"default": str(bench.base / "agent")}
    text = "FROM BUSYBOX\nRUN --mount=type=ssh echo $SSH_AUTH_SOCK; test -S $SSH_AUTH_SOCK && echo there\n"
    await bench.build(text, agents=agents)
    assert bench.lines == ["/run/buildkit/ssh_agent.0", "there"]
    listener.close()
    needed = text.replace("type=ssh", "type=ssh,required")
    assert "unset ssh forward key default" in await bench.refused(needed)
    assert "is no socket" in await bench.refused(needed, agents={"default": str(bench.base / "Dockerfile")})
