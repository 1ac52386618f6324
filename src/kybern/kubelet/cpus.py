"""The CPU manager: with the `static` policy, Guaranteed containers that ask for whole CPUs have them to themselves.

Everybody else shares the rest. Whole sockets are taken before whole cores and those before single threads, so that what
shares caches belongs to one container as far as can be. What was given out is kept on disk.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from kybern.api.codec import encode
from kybern.api.core_v1 import Container, EphemeralContainer, Pod
from kybern.api.quantity import milli
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.files import read_text, replace_file
from kybern.kubelet.qos import qos_class
from kybern.kubelet.resources import requests_of
from kybern.kubelet.restarts import is_sidecar
from kybern.kubelet.status import Verdict

REASON = "UnexpectedAdmissionError"
ONLINE = "/sys/devices/system/cpu/online"
TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/{}"


@dataclass(frozen=True, slots=True)
class Cpu:
    number: int
    core: int
    socket: int


def cpus_of_machine() -> tuple[Cpu, ...]:
    return tuple(
        Cpu(
            number, _number(TOPOLOGY.format(number, "core_id")), _number(TOPOLOGY.format(number, "physical_package_id"))
        )
        for number in sorted(parse_cpus(read_text(ONLINE).strip()))
    )


def _number(path: str) -> int:
    text = read_text(path).strip()
    return int(text) if text.isdecimal() else 0


def parse_cpus(text: str) -> set[int]:
    """`0-3,8`."""
    found: set[int] = set()
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def cpus_text(numbers: Iterable[int]) -> str:
    """Likewise, the other way."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def take(free: Iterable[Cpu], every: Iterable[Cpu], count: int) -> list[int]:
    """So many of the free ones of the machine: whole sockets, then whole cores, then what is left of the fullest core. None too few."""
    left = sorted(free, key=lambda cpu: (cpu.socket, cpu.core, cpu.number))
    taken: list[int] = []
    groups: tuple[tuple[str, ...], ...] = (("socket",), ("socket", "core"))
    whole = {fields: _sizes(every, fields) for fields in groups}
    for fields in groups:
        for key, members in _grouped(left, fields).items():
            if len(members) == whole[fields][key] and 1 < len(members) <= count - len(taken):
                taken += [cpu.number for cpu in members]
                left = [cpu for cpu in left if cpu not in members]
    by_core = _grouped(left, ("socket", "core"))
    singles = sorted(left, key=lambda cpu: (len(by_core[cpu.socket, cpu.core]), cpu.socket, cpu.core, cpu.number))
    return sorted([*taken, *(cpu.number for cpu in singles[: count - len(taken)])])


def _grouped(cpus: Iterable[Cpu], fields: tuple[str, ...]) -> dict[tuple[int, ...], list[Cpu]]:
    found: dict[tuple[int, ...], list[Cpu]] = defaultdict(list)
    for cpu in cpus:
        found[tuple(getattr(cpu, field) for field in fields)].append(cpu)
    return found


def _sizes(cpus: Iterable[Cpu], fields: tuple[str, ...]) -> dict[tuple[int, ...], int]:
    return {key: len(members) for key, members in _grouped(cpus, fields).items()}


class Kept(msgspec.Struct, omit_defaults=True):
    """As it is on disk."""

    given: dict[str, dict[str, list[int]]] = {}
    """By pod and container."""


class Cpus:
    def __init__(self, path: str, cpus: Iterable[Cpu], *, static: bool, reserved: int = 0) -> None:
        """`path` of the file; empty for none. `reserved`: how many are nobody's own, ever."""
        self.path, self.static = path, static
        self.every = tuple(cpus)
        self.exclusive = {cpu.number for cpu in self.every[reserved:]}
        self.kept = self._load() if static else Kept()

    def _load(self) -> Kept:
        text = read_text(self.path) if self.path else ""
        try:
            return msgspec.json.decode(text, type=Kept) if text else Kept()
        except msgspec.DecodeError:
            return Kept()

    def _save(self) -> None:
        if self.path:
            replace_file(self.path, encode(self.kept))

    def _taken(self) -> set[int]:
        return {n for containers in self.kept.given.values() for numbers in containers.values() for n in numbers}

    def admit(self, pod: Pod) -> Verdict | None:
        uid = pod.metadata.uid or ""
        if not self.static or uid in self.kept.given or qos_class(pod) != "Guaranteed":
            return None
        asked = {c.name: count for c in _lasting(pod) if (count := whole_cpus(c))}
        taken = self._taken()
        free = [cpu for cpu in self.every if cpu.number in self.exclusive - taken]
        given: dict[str, list[int]] = {}
        for name, count in asked.items():
            if count > len(free):
                text = (
                    "Allocate failed due to not enough cpus available to satisfy request: "
                    f"requested={count}, available={len(free)}, which is unexpected"
                )
                return Verdict(REASON, text)
            given[name] = take(free, self.every, count)
            free = [cpu for cpu in free if cpu.number not in given[name]]
        if given:
            self.kept.given[uid] = given
            self._save()
        return None

    def of(self, uid: str, container: str) -> str:
        """The CPUs of a container; empty where it may use all, since none are anybody's own."""
        if not self.static:
            return ""
        own = self.kept.given.get(uid, {}).get(container)
        return cpus_text(own if own is not None else self.shared())

    def shared(self) -> set[int]:
        """What those without CPUs of their own use."""
        return {cpu.number for cpu in self.every} - self._taken()

    def release(self, uid: str) -> bool:
        """Whether it had any."""
        if self.kept.given.pop(uid, None) is None:
            return False
        self._save()
        return True

    def keep_only(self, uids: Iterable[str]) -> None:
        for uid in self.kept.given.keys() - set(uids):
            self.release(uid)

    def given(self) -> Mapping[str, Mapping[str, list[int]]]:
        return self.kept.given


def cpus_of(config: KubeletConfig, *, simulated: bool) -> Cpus:
    """At least one CPU is nobody's own, or everybody else would have none."""
    static = config.cpu_policy == "static" and not simulated
    reserved = max(-(-milli(config.reserved.get("cpu", "0")) // 1000), 1)
    path = f"{config.data_directory}/cpus.json"
    return Cpus(path, cpus_of_machine() if static else (), static=static, reserved=reserved)


def _lasting(pod: Pod) -> tuple[Container, ...]:
    """Init containers that end before the others begin use what is shared."""
    return (*filter(is_sidecar, pod.spec.init_containers or ()), *pod.spec.containers)


def whole_cpus(container: Container | EphemeralContainer) -> int:
    """How many it asks for; 0 where it asks for a part of one."""
    asked = milli(requests_of(container).get("cpu", "0"))
    return 0 if asked % 1000 else asked // 1000
