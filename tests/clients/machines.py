"""Two machines on one: network namespaces with a cable between them. Commands run in them as on machines of their own."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conftest import KYBERN, run


@dataclass(frozen=True)
class Machine:
    namespace: str
    address: str
    address6: str

    def inside(self, *command: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.namespace}", *command]


@contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    ident = uuid.uuid4().hex[:6]
    one, other = (
        Machine(f"{name}-{ident}", f"192.0.2.{number}", f"2001:db8::{number}")
        for number, name in enumerate(("one", "two"), 1)
    )
    try:
        for machine in (one, other):
            ip("netns", "add", machine.namespace)
        ip("-n", one.namespace, "link", "add", "lan", "type", "veth", "peer", "lan", "netns", other.namespace)
        for machine in (one, other):
            ip("-n", machine.namespace, "link", "set", "lo", "up")
            ip("-n", machine.namespace, "address", "add", f"{machine.address}/24", "dev", "lan")
            ip("-n", machine.namespace, "address", "add", f"{machine.address6}/64", "dev", "lan", "nodad")
            ip("-n", machine.namespace, "link", "set", "lan", "up")
        yield one, other
    finally:
        for machine in (one, other):
            subprocess.run(["ip", "netns", "delete", machine.namespace], check=False, capture_output=True)


def ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True, capture_output=True)


@dataclass(frozen=True)
class Part:
    """A machine, and its part of the cluster."""

    machine: Machine
    data: Path
    kubeconfig: Path

    def command(self, *words: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        return run(self.machine.inside(*words), environment, check=check, stdin=stdin)

    def kybern(self, name: str, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.command(*KYBERN, name, "--data-dir", str(self.data), *args, check=check)

    def kubectl(self, *args: str, check: bool = True, stdin: str | None = None) -> str:
        return self.command("kubectl", *args, check=check, stdin=stdin).stdout

    def exec(self, pod: str, code: str) -> str:
        return self.kubectl("exec", pod, "--", "python3", "-c", code).strip()
