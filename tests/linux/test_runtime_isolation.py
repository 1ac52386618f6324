"""What a container may not do: each test is an attempt, and its answer must be a refusal."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from runtime_fixtures import Pod, image_of_two_layers, image_volumes_say, pod

from kybern.runtime.cri import (
    Mount,
    NamespaceMode,
    NamespaceOptions,
    Propagation,
    RuntimeFault,
    SecurityContext,
    SecurityProfile,
)

pytestmark = pytest.mark.linux

DEFAULT_14 = "00000000a80425fb"


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Pod]:
    async with pod(tmp_path) as made:
        yield made


def fields(lines: list[str]) -> dict[str, str]:
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def test_capabilities_are_the_default_14_and_nothing_is_inheritable(web: Pod) -> None:
    found = fields(await web.shell("cat /proc/self/status"))
    assert [found[name] for name in ("CapBnd", "CapEff", "CapPrm")] == [DEFAULT_14] * 3
    assert [found[name] for name in ("CapInh", "CapAmb")] == ["0" * 16] * 2
    assert (found["Seccomp"], found["NoNewPrivs"]) == ("2", "0")


async def test_capabilities_are_dropped_and_added_one_by_one(web: Pod) -> None:
    none = SecurityContext(drop_capabilities=("ALL",), no_new_privs=True)
    found = fields(await web.shell("cat /proc/self/status", security=none))
    assert (found["CapEff"], found["CapBnd"], found["NoNewPrivs"]) == ("0" * 16, "0" * 16, "1")
    one = SecurityContext(drop_capabilities=("ALL",), add_capabilities=("NET_BIND_SERVICE",))
    assert fields(await web.shell("cat /proc/self/status", security=one))["CapEff"] == f"{1 << 10:016x}"


async def test_users_come_from_the_image_and_are_checked(web: Pod) -> None:
    assert await web.shell("id", security=SecurityContext(run_as_username="web")) == [
        "uid=1000(web) gid=1000(web) groups=1000(web),2000(extra)"
    ]
    assert await web.shell("id -u; id -g; id -G", security=SecurityContext(run_as_user=4242, run_as_group=7)) == [
        "4242",
        "7",
        "7",
    ]
    strict = SecurityContext(run_as_user=1000, supplemental_groups=(5,), supplemental_groups_policy="Strict")
    assert await web.shell("id -G", security=strict) == ["1000 5"]
    identifier = await web.create("id", security=SecurityContext(run_as_username="nobody-here"))
    with pytest.raises(RuntimeFault, match="unable to find user nobody-here"):
        await web.runtime.start_container(identifier)
    for uid in (-1, 2**31, 2**32):
        identifier = await web.create("id", security=SecurityContext(run_as_user=uid))
        with pytest.raises(RuntimeFault, match="must be in range"):
            await web.runtime.start_container(identifier)


async def test_seccomp_refuses_new_namespaces_and_mounts(web: Pod) -> None:
    everything = SecurityContext(add_capabilities=("SYS_ADMIN",))
    refused = await web.shell("unshare -r true; mount -t tmpfs none /tmp; echo $?")
    assert any("unshare" in line for line in refused) and refused[-1] != "0"
    assert (await web.shell("mount -t tmpfs none /tmp; echo $?", security=everything))[-1] == "0"


async def test_a_localhost_profile_is_used_and_a_missing_one_never_ignored(web: Pod, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    local = SecurityContext(seccomp=SecurityProfile("Localhost", str(profile)))
    assert "not permitted" in (await web.shell("mkdir /tmp/x", security=local))[0]
    missing = SecurityContext(seccomp=SecurityProfile("Localhost", str(tmp_path / "none.json")))
    with pytest.raises(RuntimeFault, match="cannot load seccomp profile"):
        await web.create("true", security=missing)


async def test_masked_paths_are_empty_and_read_only_paths_refuse(web: Pod) -> None:
    script = "wc -c < /proc/keys; ls /sys/firmware | wc -l; echo x > /proc/irq/x; echo x > /proc/sys/kernel/core_pattern; touch /sys/x; touch /proc/sys/x"
    lines = await web.shell(script)
    assert lines[:2] == ["0", "0"]
    assert sum("Read-only file system" in line or "nonexistent" in line for line in lines) >= 3, lines


async def test_masks_cannot_be_taken_off(web: Pod) -> None:
    lines = await web.shell("umount /proc/keys; mount -o remount,rw /proc/sys; mount -t proc proc /proc; echo $?")
    assert lines[-1] != "0" and len(lines) == 4


async def test_a_read_only_root_refuses_writes_and_volumes_do_not(web: Pod, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    lines = await web.shell(
        "touch /x || echo refused; touch /data/y && echo written",
        security=SecurityContext(readonly_rootfs=True),
        mounts=(Mount(container_path="/data", host_path=str(tmp_path / "volume")),),
    )
    assert [line for line in lines if "Read-only file system" not in line] == ["refused", "written"]
    assert any("Read-only file system" in line for line in lines)  # on another stream, so it may come at any place
    assert (tmp_path / "volume" / "y").exists()


async def test_a_read_only_mount_refuses(web: Pod, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    mount = Mount(container_path="/data", host_path=str(tmp_path / "volume"), readonly=True)
    assert "Read-only file system" in (await web.shell("touch /data/y", mounts=(mount,)))[0]


async def test_devices_of_the_machine_cannot_be_opened(web: Pod) -> None:
    """The device cgroup, not only missing nodes."""
    lines = await web.shell(
        "mknod /tmp/mem c 1 1 && cat /tmp/mem; mknod /tmp/disk b 254 0 && cat /tmp/disk; cat /dev/null && echo fine"
    )
    assert sum("not permitted" in line for line in lines) == 2
    assert lines[-1] == "fine"


async def test_only_three_descriptors_are_open(web: Pod) -> None:
    identifier = await web.run("sh", "-c", "ls /proc/self/fd; exec sleep 1000")
    seen = await web.runtime.exec_sync(identifier, ["ls", "/proc/self/fd"], 10)
    assert seen.stdout.split() == [b"0", b"1", b"2", b"3"]  # 3 is ls' own


async def test_a_working_directory_outside_is_refused(web: Pod) -> None:
    for number in (3, 7, 8, 9, 12):
        identifier = await web.create("pwd", working_dir=f"/proc/self/fd/{number}")
        with pytest.raises(RuntimeFault):
            await web.runtime.start_container(identifier)


async def test_the_runtime_itself_cannot_be_run(web: Pod) -> None:
    identifier = await web.create("/proc/self/exe", "--version")
    with pytest.raises(RuntimeFault, match="permission denied"):
        await web.runtime.start_container(identifier)


async def test_a_script_cannot_name_the_runtimes_own_file(web: Pod, tmp_path: Path) -> None:
    """`#!/proc/self/exe` makes the kernel open the file that the warden's child runs from: a sealed copy in memory."""
    assert os.readlink(f"/proc/{web.node.pid}/exe").startswith("/memfd:")
    (tmp_path / "volume").mkdir()
    script = tmp_path / "volume" / "script"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    mount = Mount(container_path="/data", host_path=str(tmp_path / "volume"))
    with pytest.raises(RuntimeFault):  # this image has no loader for that program; one that has it gets a copy
        await web.run("/data/script", mounts=(mount,))
    with pytest.raises(OSError), open(f"/proc/{web.node.pid}/exe", "r+b") as program:
        program.write(b"x")


async def test_mount_targets_cannot_leave_the_container(web: Pod, tmp_path: Path) -> None:
    """A volume whose content is a link out of it, mounted into by another volume."""
    outside, volume, other = tmp_path / "outside", tmp_path / "volume", tmp_path / "other"
    for directory in (outside, volume, other):
        directory.mkdir()
    (volume / "link").symlink_to(outside)
    (volume / "up").symlink_to("../../../../../../../../.." + str(outside))
    for name in ("link", "up"):
        mounts = (
            Mount(container_path="/data", host_path=str(volume)),
            Mount(container_path=f"/data/{name}/made", host_path=str(other)),
        )
        assert (await web.finish("true", mounts=mounts))[0].exit_code == 0
    assert os.listdir(outside) == []


async def test_a_target_that_is_a_dangling_link_is_made_inside(web: Pod, tmp_path: Path) -> None:
    """As Debian's /etc/resolv.conf into an empty /run, or /var/run where there is no /run."""
    (tmp_path / "file").write_text("content\n")
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "conf").symlink_to("../run/stub.conf")
    (tmp_path / "volume" / "loop").symlink_to("loop")
    volume = Mount(container_path="/data", host_path=str(tmp_path / "volume"))
    inner = Mount(container_path="/data/conf", host_path=str(tmp_path / "file"))
    assert await web.shell("cat /data/conf /run/stub.conf", mounts=(volume, inner)) == ["content", "content"]
    loop = Mount(container_path="/data/loop", host_path=str(tmp_path / "file"))
    identifier = await web.create("true", mounts=(volume, loop))
    with pytest.raises(RuntimeFault, match="symbolic links"):
        await web.runtime.start_container(identifier)


async def test_who_brings_a_dev_has_what_is_in_it_and_puts_nothing_there(web: Pod, tmp_path: Path) -> None:
    """As drivers of storage and of devices do, with the machine's own; the terminal's is the machine's then too."""
    volume = tmp_path / "dev"
    volume.mkdir()
    (volume / "mine").touch()
    mine = (Mount(container_path="/dev", host_path=str(volume)),)
    assert await web.shell("ls -A /dev", mounts=mine) == ["mine"]
    assert os.listdir(volume) == ["mine"]
    machine = (Mount(container_path="/dev", host_path="/dev"),)
    everything = SecurityContext(privileged=True)
    assert await web.shell(
        "echo x > /dev/null && test -c /dev/ptmx && echo there", mounts=machine, security=everything
    ) == ["there"]


async def test_propagation_goes_in_and_never_out(web: Pod, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    mount = Mount(container_path="/data", host_path=str(tmp_path / "volume"))
    admin = SecurityContext(privileged=True)
    assert (await web.shell("mount -t tmpfs none /data && touch /data/x; echo $?", mounts=(mount,), security=admin))[
        -1
    ] == "0"
    assert os.listdir(tmp_path / "volume") == []
    both = Mount(container_path="/data", host_path=str(tmp_path / "volume"), propagation=Propagation.BIDIRECTIONAL)
    identifier = await web.create("true", mounts=(both,), security=admin)
    with pytest.raises(RuntimeFault, match="not shared"):
        await web.runtime.start_container(identifier)


async def test_the_hosts_processes_are_out_of_sight(web: Pod) -> None:
    assert len([line for line in await web.shell("ps -o pid") if line.strip().isdigit()]) <= 3
    host = SecurityContext(namespaces=NamespaceOptions(pid=NamespaceMode.NODE))
    pids = await web.shell("ps -o pid", security=host)
    assert str(os.getpid()) in [line.strip() for line in pids]


async def test_privileged_has_everything_the_machine_has(web: Pod) -> None:
    found = fields(await web.shell("cat /proc/self/status; ls /dev | wc -l", security=SecurityContext(privileged=True)))
    assert int(found["CapEff"], 16) == sum(1 << number for number in _bounding())
    assert found["Seccomp"] == "0"


def _bounding() -> list[int]:
    mine = fields(Path("/proc/self/status").read_text().splitlines())
    return [number for number in range(64) if int(mine["CapBnd"], 16) >> number & 1]


async def test_containers_of_a_pod_share_network_ipc_and_name(web: Pod) -> None:
    script = "for kind in net ipc uts; do readlink /proc/self/ns/$kind; done; hostname"
    first, second = await web.shell(script), await web.shell(script)
    assert first == second and len(first) == 4 and first[-1] == "pod-1"
    ids = [await web.run("sleep", "1000") for _ in range(2)]  # both alive: a namespace's number is used again
    pids = [await web.runtime.exec_sync(one, ["readlink", "/proc/self/ns/pid"], 10) for one in ids]
    assert len({os.readlink("/proc/self/ns/pid").encode(), *(found.stdout.strip() for found in pids)}) == 3
    mine = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "ipc", "uts")]
    assert not set(mine) & set(first)


async def test_a_shared_pid_namespace_has_a_first_process_that_reaps(tmp_path: Path) -> None:
    options = NamespaceOptions(pid=NamespaceMode.POD)
    async with pod(tmp_path, namespaces=options) as made:
        one = await made.run("sleep", "1000", security=SecurityContext(namespaces=options))
        two = await made.run("sleep", "2000", security=SecurityContext(namespaces=options))
        seen = (await made.runtime.exec_sync(one, ["ps", "-o", "pid,args"], 10)).stdout.decode()
        assert "sleep 1000" in seen and "sleep 2000" in seen
        await made.runtime.exec_sync(two, ["sh", "-c", "(sleep 0.1 &) ; true"], 10)
        await made.runtime.remove_pod_sandbox(made.sandbox)


async def test_an_image_is_a_volume_of_all_its_layers_and_of_one_directory(tmp_path: Path) -> None:
    async with pod(tmp_path) as made:
        image = await image_of_two_layers(made, tmp_path)
        assert await image_volumes_say(made, image) == ["above11read-only"]
        with pytest.raises(RuntimeFault, match="subpath"):
            await made.run("true", mounts=(Mount(container_path="/up", image=image, image_sub_path="../.."),))


async def test_the_machines_own_image_as_a_volume_hides_what_it_hides_as_a_root(web: Pod) -> None:
    mounts = (Mount(container_path="/machine", image="kybern.local/host", readonly=True),)
    script = "ls /machine/root; ls /machine/home; ls /machine/var/lib; cat /machine/etc/shadow; ls /machine/usr | grep -x bin"
    assert await web.shell(f"({script}) 2>/dev/null", mounts=mounts) == ["bin"]
