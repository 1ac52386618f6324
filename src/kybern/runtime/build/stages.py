"""From instructions to stages: where each begins, which of them a build needs, and in what order.

FROM image AS name   begins a stage; a later FROM, COPY --from or RUN --mount=from may name it, or its number.
"""

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kybern.runtime.build.dockerfile import Dockerfile, DockerfileError, Instruction
from kybern.runtime.build.expansion import expand, split
from kybern.runtime.images.manifest import ARCHITECTURES

SCRATCH = "scratch"


@dataclass(frozen=True, slots=True)
class Stage:
    number: int
    name: str
    base: str
    """An image, `scratch`, or the name of an earlier stage."""
    parent: int | None
    """The earlier stage, where `base` is one."""
    opening: Instruction
    steps: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    stages: tuple[Stage, ...]
    globals: Mapping[str, str]
    """ARGs from before the first FROM: what a stage's own `ARG NAME` falls back to."""
    target: Stage
    escape: str

    def find(self, name: str, before: int) -> Stage | None:
        return find_stage(self.stages[:before], name)

    def needed(self) -> list[Stage]:
        """The target and all it takes from, in their order."""
        wanted: set[int] = set()
        waiting = [self.target]
        while waiting:
            stage = waiting.pop()
            if stage.number not in wanted:
                wanted.add(stage.number)
                waiting += self._taken_from(stage)
        return [stage for stage in self.stages if stage.number in wanted]

    def _taken_from(self, stage: Stage) -> Iterator[Stage]:
        if stage.parent is not None:
            yield self.stages[stage.parent]
        for step in stage.steps:
            for name in sources_of(step):
                found = self.find(name, stage.number)
                if found is not None:
                    yield found


def plan(dockerfile: Dockerfile, build_args: Mapping[str, str], target: str = "") -> Plan:
    """DockerfileError where a stage is missing or a FROM is wrong."""
    known = {**dict(platform_arguments()), **build_args}
    globals_: dict[str, str] = {}
    stages: list[Stage] = []
    steps: list[Instruction] = []
    for step in dockerfile.instructions:
        if step.keyword == "FROM":
            if stages:
                stages[-1] = _closed(stages[-1], steps)
            steps = []
            stages.append(_opened(step, stages, known | globals_, dockerfile.escape))
        elif stages:
            steps.append(step)
        elif step.keyword == "ARG":
            globals_ |= _global_arguments(step, known | globals_, build_args, dockerfile.escape)
        else:
            raise DockerfileError("no build stage in current context", step.line)
    if not stages:
        raise DockerfileError("no build stage in current context")
    stages[-1] = _closed(stages[-1], steps)
    chosen = find_stage(stages, target) if target else stages[-1]
    if chosen is None:
        raise DockerfileError(f"target stage {target!r} could not be found")
    return Plan(tuple(stages), dict(platform_arguments()) | globals_, chosen, dockerfile.escape)


def find_stage(stages: "tuple[Stage, ...] | list[Stage]", name: str) -> Stage | None:
    """By name, the last one of it; else by number."""
    named = next((stage for stage in reversed(stages) if stage.name and stage.name == name.lower()), None)
    if named is None and name.isascii() and name.isdigit() and int(name) < len(stages):
        return stages[int(name)]
    return named


def sources_of(step: Instruction) -> list[str]:
    """The stages or images that a step takes files from; names are not expanded there, as in Docker."""
    if step.keyword == "COPY":
        return [name] if (name := step.flag("from")) else []
    mounts = [value for flag, value in step.flags if flag == "mount"] if step.keyword == "RUN" else []
    fields = (field.partition("=") for mount in mounts for field in mount.split(","))
    return [value for name, _, value in fields if name == "from"]


def platform_arguments() -> Iterator[tuple[str, str]]:
    architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
    for kind in ("TARGET", "BUILD"):
        yield f"{kind}PLATFORM", f"linux/{architecture}"
        yield f"{kind}OS", "linux"
        yield f"{kind}ARCH", architecture
        yield f"{kind}VARIANT", ""


def _opened(step: Instruction, stages: list[Stage], values: Mapping[str, str], escape: str) -> Stage:
    words = step.text.split()
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
        raise DockerfileError("FROM requires either one or three arguments", step.line)
    base = expand(words[0], values, escape)
    if not base:
        raise DockerfileError(f"base name ({words[0]}) should not be blank", step.line)
    wanted = expand(step.flag("platform"), values, escape)
    if wanted and wanted != values["TARGETPLATFORM"]:
        raise DockerfileError(f"platform {wanted!r} cannot be built on {values['TARGETPLATFORM']!r}", step.line)
    parent = find_stage([stage for stage in stages if stage.name], base)
    name = words[2].lower() if len(words) == 3 else ""
    return Stage(len(stages), name, base, parent.number if parent else None, step, ())


def _closed(stage: Stage, steps: list[Instruction]) -> Stage:
    return Stage(stage.number, stage.name, stage.base, stage.parent, stage.opening, tuple(steps))


def _global_arguments(
    step: Instruction, values: Mapping[str, str], build_args: Mapping[str, str], escape: str
) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, default in arguments_of(step, escape):
        if name in build_args:
            found[name] = build_args[name]
        elif default is not None:
            found[name] = expand(default, {**values, **found}, escape)
    return found


def arguments_of(step: Instruction, escape: str) -> list[tuple[str, str | None]]:
    """(name, default or None) of each of an ARG's arguments."""
    words = (word.partition("=") for word in split(step.text, escape))
    return [(name, default if equals else None) for name, equals, default in words]
