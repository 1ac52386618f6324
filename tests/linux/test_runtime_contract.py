"""What every runtime must do behind `runtime.cri`, however it runs containers: one suite for ours and for containerd."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest
import pytest_asyncio
from containerd import there as containerd_there
from runtime_fixtures import ENGINES, Engine, Pod, read_until

from kybern.runtime.cri import (
    AuthConfig,
    ContainerState,
    LinuxResources,
    Mount,
    NamespaceMode,
    NamespaceOptions,
    RuntimeFault,
    SecurityContext,
)

pytestmark = [pytest.mark.linux, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=ENGINES)
async def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
    if request.param == "containerd" and not containerd_there():
        pytest.skip("there is no containerd; install it with: apt-get install -y containerd runc")
    async with ENGINES[request.param](tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def web(engine: Engine) -> AsyncIterator[Pod]:
    async with engine.pod() as made:
        yield made


async def test_it_says_what_it_is_and_that_its_network_works(engine: Engine) -> None:
    name, version = await engine.runtime.version()
    assert name in ("kybern", "containerd") and version
    assert await engine.runtime.network_fault() == ""


async def test_a_sandbox_is_listed_as_it_was_asked_for(web: Pod) -> None:
    (found,) = await web.runtime.list_pod_sandboxes()
    assert (found.id, found.state.value, len(found.ips)) == (web.sandbox, "ready", 1)
    assert (found.config.metadata.uid, found.config.hostname, dict(found.config.labels)) == (
        "u",
        "pod-1",
        {"app": "web"},
    )
    await web.runtime.stop_pod_sandbox(web.sandbox)
    await web.runtime.stop_pod_sandbox(web.sandbox)
    assert [each.state.value for each in await web.runtime.list_pod_sandboxes()] == ["not-ready"]


async def test_a_container_writes_its_log_in_cri_format(web: Pod) -> None:
    status, lines = await web.finish("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (status.state, status.exit_code, status.reason) == (ContainerState.EXITED, 3, "Error")
    assert status.created_at <= status.started_at <= status.finished_at
    assert (status.log_path, status.sandbox_id) == (str(web.log_paths[status.id]), web.sandbox)
    assert sorted(lines) == ["err", "out"]
    streams = {line.split(" ")[3]: line.split(" ")[1:3] for line in web.log(status.id).splitlines()}
    assert streams == {"out": ["stdout", "F"], "err": ["stderr", "F"]}


async def test_a_line_longer_than_16_kib_is_written_in_parts(web: Pod) -> None:
    status, _ = await web.finish("sh", "-c", "head -c 40000 /dev/zero | tr '\\0' x; echo")
    parts = [line.split(" ", 3) for line in web.log(status.id).splitlines() if "x" in line.split(" ", 3)[3]]
    assert [part[2] for part in parts] == ["P", "P", "F"]
    assert sum(len(part[3]) for part in parts) == 40000


async def test_stop_sends_the_stop_signal_and_then_kills(web: Pod) -> None:
    polite = await web.run("sh", "-c", "trap 'exit 7' TERM; echo ready; while true; do sleep 0.05; done")
    await web.said(polite, "ready")
    await web.runtime.stop_container(polite, 10)
    assert (await web.runtime.container_status(polite)).exit_code == 7
    deaf = await web.run("sleep", "1000")  # the first process of a PID namespace ignores what it has no handler for
    await web.runtime.stop_container(deaf, 0.1)
    assert (await web.runtime.container_status(deaf)).exit_code == 137
    await web.runtime.stop_container(deaf, 0)


async def test_a_program_that_does_not_exist_is_a_start_error(web: Pod) -> None:
    identifier = await web.create("nope")
    with pytest.raises(RuntimeFault, match=r'exec: "nope": executable file not found in \$PATH') as refused:
        await web.runtime.start_container(identifier)
    assert refused.value.reason == "RunContainerError"
    status = await web.runtime.container_status(identifier)
    assert (status.state, status.exit_code, status.reason) == (ContainerState.EXITED, 128, "StartError")
    assert "executable file not found" in status.message


async def test_more_memory_than_allowed_is_oom_killed(web: Pod) -> None:
    limits = LinuxResources(memory_limit_bytes=16 << 20)
    status, _ = await web.finish("sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=64M", resources=limits)
    assert (status.exit_code, status.reason) == (137, "OOMKilled")


async def test_limits_are_what_the_container_has_and_can_change(web: Pod) -> None:
    limits = LinuxResources(memory_limit_bytes=32 << 20, cpu_shares=512, cpu_quota=20_000, cpu_period=100_000)
    identifier = await web.run("sleep", "1000", resources=limits)
    show = ["sh", "-c", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null"]
    assert (await web.runtime.exec_sync(identifier, show, 5)).stdout.split() == [str(32 << 20).encode()]
    await web.runtime.update_container_resources(identifier, LinuxResources(memory_limit_bytes=64 << 20))
    assert (await web.runtime.exec_sync(identifier, show, 5)).stdout.split() == [str(64 << 20).encode()]
    resources = (await web.runtime.container_status(identifier)).resources
    assert resources is not None and (resources.memory_limit_bytes, resources.cpu_shares) == (64 << 20, 512)
    stats = await web.runtime.container_stats(identifier)
    assert stats.memory_usage_bytes > 0 and stats.cpu_usage_core_ns > 0


async def test_a_log_is_reopened_where_it_was_moved_away(web: Pod) -> None:
    identifier = await web.run("sh", "-c", "echo one; while [ ! -e /tmp/go ]; do sleep 0.02; done; echo two")
    await web.said(identifier, "one")
    path = web.log_paths[identifier]
    path.rename(path.with_suffix(".old"))
    await web.runtime.reopen_container_log(identifier)
    await web.runtime.exec_sync(identifier, ["touch", "/tmp/go"], 5)
    await web.until(identifier, lambda status: status.state == ContainerState.EXITED)
    assert web.lines(identifier) == ["two"]


async def told(identifier: str, first: Awaitable[str], events: AsyncIterator[str]) -> None:
    """Of that one, be it among others: a runtime may tell of everything."""
    changed = await first
    while changed != identifier:
        changed = await anext(events)


async def test_events_name_what_changed(web: Pod) -> None:
    events = web.runtime.events()
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    identifier = await web.create("true")
    await told(identifier, waiting, events)
    await events.aclose()


async def test_the_end_of_a_container_is_an_event(web: Pod) -> None:
    identifier = await web.run("sh", "-c", "while [ ! -e /tmp/go ]; do sleep 0.02; done")
    events = web.runtime.events()
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    await web.runtime.exec_sync(identifier, ["touch", "/tmp/go"], 5)
    async with asyncio.timeout(10):
        while (await web.runtime.container_status(identifier)).state is not ContainerState.EXITED:
            await asyncio.wait([waiting], timeout=0.1)
        await told(identifier, waiting, events)
    await events.aclose()


async def test_who_opens_it_again_finds_everything(engine: Engine, web: Pod) -> None:
    identifier = await web.run("sleep", "1000")
    before = await web.runtime.container_status(identifier)
    await engine.reopen()
    after = await engine.runtime.container_status(identifier)
    assert (after.state, after.started_at) == (ContainerState.RUNNING, before.started_at)
    (sandbox,) = await engine.runtime.list_pod_sandboxes()
    assert (sandbox.id, sandbox.config.log_directory, len(sandbox.ips)) == (web.sandbox, str(web.base / "logs"), 1)
    web.runtime = engine.runtime
    assert (await web.finish("true"))[0].exit_code == 0


async def test_exec_gives_both_streams_and_the_exit_code(web: Pod) -> None:
    identifier = await web.run("sleep", "1000")
    result = await web.runtime.exec_sync(identifier, ["sh", "-c", "echo out; echo err >&2; exit 4"], 10)
    assert (result.stdout, result.stderr, result.exit_code) == (b"out\n", b"err\n", 4)


async def test_exec_that_takes_too_long_is_dead_when_it_is_given_up(web: Pod) -> None:
    identifier = await web.run("sleep", "1000")
    with pytest.raises(TimeoutError):
        await web.runtime.exec_sync(identifier, ["sleep", "77"], 0.2)
    async with asyncio.timeout(10):
        while b"sleep 77" in (await web.runtime.exec_sync(identifier, ["ps", "-o", "args"], 10)).stdout:
            await asyncio.sleep(0.05)


async def test_exec_of_what_is_not_there_says_so(web: Pod) -> None:
    identifier = await web.run("sleep", "1000")
    with pytest.raises(RuntimeFault, match="executable file not found"):
        await web.runtime.exec_sync(identifier, ["nope"], 5)
    await web.runtime.stop_container(identifier, 0)
    with pytest.raises(RuntimeFault):
        await web.runtime.exec_sync(identifier, ["true"], 5)
    with pytest.raises(RuntimeFault):
        await web.runtime.exec_sync("0" * 64, ["true"], 5)


async def test_stdin_reaches_the_process_and_its_end_ends_it(web: Pod) -> None:
    identifier = await web.run("sleep", "1000")
    io = await web.runtime.exec(identifier, ["cat"], stdin=True, tty=False)
    await io.write_stdin(b"hello")
    assert await io.read_stdout() == b"hello"
    await io.close_stdin()
    assert (await io.read_stdout(), await io.wait()) == (b"", 0)
    await io.close()


async def test_much_goes_through_an_exec_unchanged(web: Pod) -> None:
    identifier = await web.run("sleep", "1000")
    io = await web.runtime.exec(identifier, ["head", "-c", "3000000", "/dev/zero"], stdin=False, tty=False)
    size = 0
    while piece := await io.read_stdout():
        size += len(piece)
    assert (size, await io.wait()) == (3_000_000, 0)
    await io.close()


async def test_a_terminal_has_a_name_and_a_size(web: Pod) -> None:
    identifier = await web.run("sleep", "1000")
    io = await web.runtime.exec(identifier, ["sh"], stdin=True, tty=True)
    await io.resize(101, 33)
    shown = b""
    async with asyncio.timeout(10):
        while b"33 101" not in shown:  # a runtime may take the size a moment after the first bytes
            await io.write_stdin(b"tty; stty size\n")
            shown += await io.read_stdout()
    assert b"/dev/pts/" in shown
    await io.write_stdin(b"exit 9\n")
    assert await io.wait() == 9
    await io.close()


async def test_attach_sees_what_is_written_and_writes_what_is_read(web: Pod) -> None:
    script = "while read line; do echo got $line; done; echo end"
    identifier = await web.run("sh", "-c", script, stdin=True, stdin_once=True)
    io = await web.runtime.attach(identifier, stdin=True, tty=False)
    await io.write_stdin(b"one\n")
    await read_until(io, b"got one\n")
    await io.close_stdin()
    await read_until(io, b"end\n")
    await io.wait()
    await io.close()
    await web.until(identifier, lambda status: status.state == ContainerState.EXITED)
    assert web.lines(identifier) == ["got one", "end"]


async def test_a_container_with_a_terminal_logs_as_stdout(web: Pod) -> None:
    identifier = await web.run("sh", "-c", "tty; read x; echo $x >&2", stdin=True, tty=True)
    io = await web.runtime.attach(identifier, stdin=True, tty=True)
    await io.resize(90, 20)
    await io.write_stdin(b"word\n")
    await read_until(io, b"word")
    await io.wait()
    await io.close()
    await web.until(identifier, lambda status: status.state == ContainerState.EXITED)
    assert {line.split(" ")[1] for line in web.log(identifier).splitlines()} == {"stdout"}
    assert any("/dev/pts/0" in line for line in web.lines(identifier))


async def test_port_forward_connects_inside_the_pod(web: Pod) -> None:
    identifier = await web.run("httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/www")
    async with asyncio.timeout(10):
        while b":1F90" not in (await web.runtime.exec_sync(identifier, ["cat", "/proc/net/tcp"], 10)).stdout:
            await asyncio.sleep(0.05)
    reader, writer = await web.runtime.port_forward(web.sandbox, 8080)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    await writer.drain()
    answer = b""
    while piece := await reader.read():
        answer += piece
    writer.close()
    assert answer.endswith(b"hello\n")


async def test_port_forward_to_nobody_is_a_connection_error(web: Pod) -> None:
    with pytest.raises(ConnectionError, match="failed to connect to localhost:81"):
        reader, writer = await web.runtime.port_forward(web.sandbox, 81)
        try:
            await reader.read()
        finally:
            writer.close()


async def test_a_container_is_confined_as_asked(web: Pod, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("shown\n")
    mount = Mount(container_path="/mnt/file", host_path=str(tmp_path / "file"), readonly=True)
    security = SecurityContext(
        run_as_user=1000, run_as_group=2000, supplemental_groups=(77,), readonly_rootfs=True, no_new_privs=True,
        drop_capabilities=("ALL",), add_capabilities=("NET_BIND_SERVICE",),
    )  # fmt: skip
    script = (
        "id -u; id -g; id -G | tr ' ' '\\n' | grep -x 77; cat /mnt/file; echo x > /mnt/file || echo no; touch /x || echo no;"
        " echo $A; grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; cat /proc/keys | wc -c; unshare -U true || echo no"
    )
    lines = await web.shell(script, security=security, mounts=(mount,), envs=(("A", "1"),))
    said = [line.replace("\t", " ") for line in lines if not line.startswith(("sh:", "touch:", "unshare:"))]
    assert said == [
        *("1000", "2000", "77", "shown", "no", "no", "1"),
        *("CapBnd: 0000000000000400", "NoNewPrivs: 1", "Seccomp: 2", "0", "no"),
    ]


async def test_a_status_tells_what_was_mounted(web: Pod, tmp_path: Path) -> None:
    mount = Mount(container_path="/mnt", host_path=str(tmp_path), readonly=True)
    status = await web.runtime.container_status(await web.create("true", mounts=(mount,)))
    assert mount in status.mounts


async def test_containers_of_a_pod_share_network_ipc_and_name(web: Pod) -> None:
    script = "for kind in net ipc uts; do readlink /proc/self/ns/$kind; done; hostname"
    first, second = await web.shell(script), await web.shell(script)
    assert first == second and first[-1] == "pod-1"


async def test_a_shared_pid_namespace_shows_the_others(engine: Engine) -> None:
    options = NamespaceOptions(pid=NamespaceMode.POD)
    async with engine.pod(namespaces=options) as made:
        one = await made.run("sleep", "1001", security=SecurityContext(namespaces=options))
        await made.run("sleep", "2002", security=SecurityContext(namespaces=options))
        seen = (await made.runtime.exec_sync(one, ["ps", "-o", "args"], 10)).stdout.decode()
        assert "sleep 1001" in seen and "sleep 2002" in seen


async def test_images_are_pulled_found_and_removed(engine: Engine) -> None:
    runtime, registry = engine.runtime, engine.registry
    name = f"{registry.address}/test/other"
    pulled = await runtime.pull_image(name)
    by_name, by_id = await runtime.image_status(name), await runtime.image_status(pulled)
    assert by_name is not None and by_name == by_id
    assert (by_name.id, by_name.username, by_name.repo_tags) == (pulled, "web", (f"{name}:latest",))
    assert by_name.size_bytes > 0 and by_name in await runtime.list_images()
    await runtime.remove_image(pulled)
    await runtime.remove_image(pulled)
    assert await runtime.image_status(name) is None


async def test_a_registry_that_wants_a_login_gets_it(engine: Engine) -> None:
    runtime, registry = engine.runtime, engine.registry
    name = f"{registry.address}/test/other"
    registry.login = "me:secret"
    try:
        with pytest.raises(RuntimeFault) as refused:
            await runtime.pull_image(name)
        assert refused.value.reason == "ErrImagePull"
        pulled = await runtime.pull_image(name, AuthConfig(username="me", password="secret"))
        await runtime.remove_image(pulled)
    finally:
        registry.login = ""


async def test_what_cannot_be_pulled_is_told(engine: Engine) -> None:
    with pytest.raises(RuntimeFault, match="not found") as missing:
        await engine.runtime.pull_image(f"{engine.registry.address}/test/nothing")
    assert missing.value.reason == "ErrImagePull"
    with pytest.raises(RuntimeFault) as invalid:
        await engine.runtime.pull_image("a b")
    assert invalid.value.reason == "InvalidImageName"


async def test_what_is_removed_is_gone(engine: Engine, web: Pod) -> None:
    await web.run("sleep", "1000")
    await web.runtime.remove_pod_sandbox(web.sandbox)
    await web.runtime.remove_pod_sandbox(web.sandbox)
    assert (list(await web.runtime.list_containers()), list(await web.runtime.list_pod_sandboxes())) == ([], [])
    with pytest.raises(RuntimeFault) as gone:
        await web.runtime.container_status(next(iter(web.log_paths)))
    assert gone.value.reason == "NotFound"
    assert engine.attached == set()
