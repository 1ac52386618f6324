"""What simulated nodes and pods are like: settings as in a file of `kybern up --simulated-config`, and a pod's life by them.

The first rule whose `match` fits a pod says when it starts, becomes ready, ends and how; annotations of the pod itself say
more (`simulated/starts-seconds`, `ready-seconds`, `runs-seconds`, `stops-seconds`, `exit-code`, `ready: never`).
A delay is a number of seconds or two numbers between which it lies. Chance is the pod's uid: whoever asks again, after a
restart say, is told the same life.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from random import Random
from typing import Annotated

import msgspec

from kybern.api.core_v1 import Pod, Taint
from kybern.api.yaml import parse

CAPACITY = {"cpu": "8", "memory": "32Gi", "pods": "110"}
PREFIX = "simulated/"

NODES_MAX = 100_000
Delay = float | tuple[float, float]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Match(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    namespace: str = "*"
    image: str = "*"
    """Of any container; both are patterns as in file names."""
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}

    def fits(self, pod: Pod) -> bool:
        meta = pod.metadata
        return (
            fnmatchcase(meta.namespace or "", self.namespace)
            and any(fnmatchcase(container.image or "", self.image) for container in pod.spec.containers)
            and self.labels.items() <= (meta.labels or {}).items()
            and self.annotations.items() <= (meta.annotations or {}).items()
        )


class PodRule(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    match: Match = Match()
    starts_seconds: Delay = 0.0
    ready_seconds: Delay | None = 0.0
    """After it started; null: never."""
    runs_seconds: Delay | None = None
    """After it started; null: until it is deleted."""
    stops_seconds: Delay = 0.0
    """After it was told to."""
    exit_code: int = 0
    fails: Share = 0.0
    """The share of pods that end with code 1 instead."""


class NodeGroup(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    name: str = "sim"
    """Its nodes are `sim-0`, `sim-1` and so on."""
    count: Annotated[int, msgspec.Meta(ge=0, le=NODES_MAX)] = 1
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    taints: tuple[Taint, ...] = ()
    capacity: Mapping[str, str] = {}
    """Beside, or instead of, the usual: `nvidia.com/gpu: "8"`."""

    @property
    def names(self) -> list[str]:
        return [f"{self.name}-{number}" for number in range(self.count)]


class Settings(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    nodes: tuple[NodeGroup, ...] = ()
    pods: tuple[PodRule, ...] = ()


class WrongSettings(ValueError):
    """The file cannot be read, or says something that makes no sense."""


def read_settings(path: str, nodes: int) -> Settings:
    """`nodes` more than the file says; without a file only these."""
    try:
        found = msgspec.convert(parse(Path(path).read_bytes())[0] or {}, Settings) if path else Settings()
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise WrongSettings(f"{path}: {error}") from error
    settings = Settings((*found.nodes, NodeGroup(count=nodes)), found.pods)
    names = [name for group in settings.nodes for name in group.names]
    if len(set(names)) < len(names) or len(names) > NODES_MAX:
        raise WrongSettings(f"{path or 'nodes'}: two nodes of one name, or more than {NODES_MAX} nodes")
    return settings


class Life(msgspec.Struct, frozen=True):
    starts: float
    ready: float | None
    runs: float | None
    stops: float
    exit_code: int


def life_of(pod: Pod, rules: Sequence[PodRule]) -> Life:
    rule = next((rule for rule in rules if rule.match.fits(pod)), PodRule())
    told = pod.metadata.annotations or {}

    @cache
    def chance() -> Random:
        """Made only where something is left to it: that takes longer than all the rest."""
        return Random(pod.metadata.uid)

    def seconds(name: str, delay: Delay | None) -> float | None:
        drawn = chance().uniform(*delay) if isinstance(delay, tuple) else delay
        return number(told.get(PREFIX + name), drawn)

    failing = rule.fails > 0 and chance().random() < rule.fails
    exit_code = number(told.get(f"{PREFIX}exit-code"), float(1 if failing else rule.exit_code))
    return Life(
        starts=seconds("starts-seconds", rule.starts_seconds) or 0.0,
        ready=None if told.get(f"{PREFIX}ready") == "never" else seconds("ready-seconds", rule.ready_seconds),
        runs=seconds("runs-seconds", rule.runs_seconds),
        stops=seconds("stops-seconds", rule.stops_seconds) or 0.0,
        exit_code=int(exit_code or 0),
    )


def number(text: str | None, otherwise: float | None) -> float | None:
    """An annotation that is no number says nothing."""
    try:
        return otherwise if text is None else max(0.0, min(float(text), 1e9))
    except ValueError:
        return otherwise
