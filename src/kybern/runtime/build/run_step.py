"""RUN: the step's words as a command, what it depends on as its key, what it changed as its layer."""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from kybern.runtime.build.dockerfile import DockerfileError, Instruction
from kybern.runtime.build.files import FileStep
from kybern.runtime.build.mounts import StepMount, mounts_of
from kybern.runtime.build.running import NETWORKS, Command, run
from kybern.runtime.build.settings import Layer, Settings
from kybern.runtime.build.shown import Shown, Shows
from kybern.runtime.build.stages import Stage
from kybern.runtime.build.work import Work
from kybern.runtime.build.workshop import Bench
from kybern.runtime.cri import Mount
from kybern.runtime.images.image import ReadyImage
from kybern.runtime.native import NativeRuntime

FLAGS = frozenset(("mount", "network"))
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
"""ARGs that need no declaration, in either case; they are no part of the cache's key."""
SCRIPTS = "/dev/pipes"
ONLY_HEREDOC = re.compile(r"<<-?\s*(['\"]?)[\w.]+\1")


class RunSteps:
    """What RUN needs of the node: its runtime, a place for caches, a cgroup."""

    def __init__(self, runtime: NativeRuntime, shows: Shows, cgroup: str) -> None:
        self.runtime, self.shows, self.cgroup = runtime, shows, cgroup

    async def step(self, work: Work, settings: Settings, step: Instruction, stage: Stage) -> Settings:
        unknown = next((name for name, _ in step.flags if name not in FLAGS), None)
        if unknown is not None or step.flag("network", "default") not in NETWORKS:
            raise DockerfileError(f"unsupported flag of RUN: {unknown or step.flag('network')}", step.line)
        mounts = mounts_of(step, settings.variables, work.plan.escape)
        declared = {name: value for name, value in settings.arguments.items() if name not in settings.environment}
        parts = [json.dumps(declared, sort_keys=True), *(f"{name}={value}" for name, value in step.flags)]
        parts += [text for each in step.heredocs for text in (each.name, each.content)]
        parts += [await self._contents(work, mount, stage) for mount in mounts if mount.kind == "bind"]
        key = settings.keyed("RUN", step.text, *settings.shell, *parts).key
        variables = {**proxies(work.order.arguments), **declared}
        return await work.layer(settings, step, key, lambda: self._made(work, settings, step, stage, mounts, variables))

    async def _contents(self, work: Work, mount: StepMount, stage: Stage) -> str:
        """A step depends on the files that it is shown, too."""
        source, known, ignore = await work.source(mount.stage, stage)
        return known or await work.digest(source, (mount.source or ".",), ignore)

    async def _made(
        self,
        work: Work,
        settings: Settings,
        step: Instruction,
        stage: Stage,
        mounts: list[StepMount],
        variables: Mapping[str, str],
    ) -> Layer | None:
        layers = work.layers(settings)
        if not layers:
            raise DockerfileError("RUN needs a program to run, and there is nothing in scratch", step.line)
        image = ReadyImage(id=f"build:{settings.key}", layers=layers, defaults=settings.defaults())

        async def output(line: str) -> None:
            await work.report({"line": line})

        async with contextlib.AsyncExitStack() as stack:
            bench = stack.enter_context(work.workshop.bench())
            shown = [await stack.enter_async_context(self.shows.shown(m, work.order, bench)) for m in mounts]
            shown += [await self._bound(work, m, stage, stack) for m in mounts if m.kind == "bind"]
            command = command_of(step, settings, bench, shown, variables)
            ran = await stack.enter_async_context(
                run(self.runtime, image, command, self.cgroup, bench.path / "logs", output)
            )
            if ran.exit_code:
                words, why = " ".join(command.arguments), f": {ran.message}" if ran.message else ""
                raise DockerfileError(
                    f'process "{words}" did not complete successfully: exit code: {ran.exit_code}{why}'
                )
            return await work.workshop.pack(work.needed, ran.upper, layers, settings.diff_ids, ran.mounted)

    async def _bound(self, work: Work, mount: StepMount, stage: Stage, stack: contextlib.AsyncExitStack) -> Shown:
        """A copy is shown: what the step writes there is nobody's."""
        bench = stack.enter_context(work.workshop.bench())
        source, _, ignore = await work.source(mount.stage, stage)
        whole = FileStep(patterns=(mount.source or ".",), destination="/content" if mount.source else "/content/")
        await work.workshop.copy(bench, source, whole, ignore, ())
        return Shown(
            Mount(container_path=mount.target, host_path=str(bench.upper / "content"), readonly=mount.readonly)
        )


def proxies(given: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in given.items() if name.upper() in PROXIES}


def command_of(
    step: Instruction, settings: Settings, bench: Bench, shown: list[Shown], variables: Mapping[str, str]
) -> Command:
    arguments, scripts = script_of(step, settings, bench.path)
    given = {**variables, **{name: value for each in shown for name, value in each.variables.items()}}
    mounts = (*(each.mount for each in shown if each.mount is not None), *scripts)
    return Command(arguments, tuple(given.items()), mounts, step.flag("network", "default"))


def script_of(step: Instruction, settings: Settings, directory: Path) -> tuple[tuple[str, ...], tuple[Mount, ...]]:
    """The command. A heredoc alone is the whole script; one that says what runs it is a program of its own."""
    if step.words is not None:
        return step.words, ()
    if len(step.heredocs) == 1 and ONLY_HEREDOC.fullmatch(step.text):
        only = step.heredocs[0]
        if not only.content.startswith("#!"):
            return (*settings.shell, only.content), ()
        path = directory / "script"
        path.write_text(only.content)
        path.chmod(0o755)
        place = f"{SCRIPTS}/{only.name}"
        return (place,), (Mount(container_path=place, host_path=str(path), readonly=True),)
    return (*settings.shell, "\n".join((step.text, *_bodies(step)))), ()


def _bodies(step: Instruction) -> Iterator[str]:
    for each in step.heredocs:
        yield f"{each.content}{each.name}"
