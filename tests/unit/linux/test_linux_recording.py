"""The recording kernel writes down what it was asked."""

from kybern.linux.interface import Kernel
from kybern.linux.real import RealKernel
from kybern.linux.recording import RecordingKernel


def test_calls_are_kept_in_order() -> None:
    kernel = RecordingKernel()
    kernel.mounts.tmpfs("/a", 5, 0o700)
    kernel.mounts.bind("/a", "/b", readonly=True)
    kernel.netns.create("/n")
    kernel.rules.apply("add table t")
    kernel.mounts.unmount("/b")
    assert [call[0] for call in kernel.calls] == ["tmpfs", "bind", "create_netns", "nft", "unmount"]
    assert kernel.calls[1] == ("bind", "/a", "/b", "readonly")
    assert kernel.netns.exists("/n")


def test_both_kernels_are_kernels() -> None:
    kernels: list[Kernel] = [RecordingKernel(), RealKernel()]
    assert len(kernels) == 2
