"""A build, carried out: stage by stage, step by step, each step's layer taken from the cache or made.

A step's key covers everything that its result depends on (the state before it, its words after expansion, the contents of
what it copies), so an equal key means an equal layer. A layer is in the store and in the cache before the next step begins:
a build that breaks off continues there the next time.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kybern.aio.clock import Clock
from kybern.runtime.build import bases
from kybern.runtime.build.cache import BuildCache
from kybern.runtime.build.copy_step import copy_step, working_directory_step
from kybern.runtime.build.dockerfile import BYTES_MAX, DockerfileError, Instruction, parse, parse_line
from kybern.runtime.build.run_step import RunSteps
from kybern.runtime.build.settings import Settings, empty
from kybern.runtime.build.shown import Shows
from kybern.runtime.build.stages import SCRATCH, Stage, plan
from kybern.runtime.build.steps import STEPS, argument
from kybern.runtime.build.work import BuildOrder, Report, Work
from kybern.runtime.build.workshop import Workshop
from kybern.runtime.images.layout import Needed
from kybern.runtime.images.manifest import Descriptor
from kybern.runtime.images.reference import parse as parse_reference
from kybern.runtime.images.store import ImageStore
from kybern.runtime.native import NativeRuntime


class Builder:
    """The builds of one node."""

    def __init__(self, runtime: NativeRuntime, directory: Path, cgroup: str, clock: Clock) -> None:
        self.images, self.clock = runtime.images, clock
        self.cache = BuildCache(directory / "cache")
        self.workshop = Workshop(runtime.images)
        self.run_steps = RunSteps(runtime, Shows(directory / "mounts"), cgroup)
        self.images.also_kept = self.cache.kept

    async def build(self, order: BuildOrder, report: Report) -> tuple[str, list[str]]:
        """(the image's id, its names). DockerfileError or RuntimeFault; then no image was made."""
        dockerfile = parse(await asyncio.to_thread(text_of, order.dockerfile))
        with Needed(self.images.layout) as needed:
            work = Work(
                order=order,
                plan=plan(dockerfile, order.arguments, order.target),
                ignore=await asyncio.to_thread(ignored, order),
                images=self.images,
                cache=self.cache,
                workshop=self.workshop,
                clock=self.clock,
                report=report,
                needed=needed,
            )
            stages = work.plan.needed()
            counted = Counted(report, sum(1 + len(stage.steps) for stage in stages))
            for stage in stages:
                work.done[stage.number] = await self._stage(work, stage, counted)
            return finish(self.images, work.done[work.plan.target.number], work)

    async def _stage(self, work: Work, stage: Stage, counted: "Counted") -> Settings:
        await counted.say(stage.opening, stage)
        settings = await begin(work, stage)
        triggers = [parse_line(text, stage.opening.line) for text in settings.config.get("OnBuild") or ()]
        settings = settings.with_config(OnBuild=None)
        for step in (*triggers, *stage.steps):
            await counted.say(step, stage)
            settings = await self._step(work, settings, step, stage)
        return settings

    async def _step(self, work: Work, settings: Settings, step: Instruction, stage: Stage) -> Settings:
        match step.keyword:
            case "ARG":
                return argument(settings, step, work.plan.escape, work.order.arguments, work.plan.globals)
            case "RUN":
                return await self.run_steps.step(work, settings, step, stage)
            case "COPY" | "ADD":
                return await copy_step(work, settings, step, stage)
            case "WORKDIR":
                return await working_directory_step(work, settings, step)
        changed = STEPS[step.keyword](settings, step, work.plan.escape)
        return changed.keyed(step.keyword, json.dumps(changed.config, sort_keys=True)).stepped(step.shown())


class Counted:
    """Which step of how many, for whoever watches."""

    def __init__(self, report: Report, steps: int) -> None:
        self.report, self.steps, self.number = report, steps, 0

    async def say(self, step: Instruction, stage: Stage) -> None:
        self.number += 1
        name = f"{stage.name} " if stage.name else ""
        await self.report({"step": f"[{name}{min(self.number, self.steps)}/{self.steps}] {step.shown()}"})


async def begin(work: Work, stage: Stage) -> Settings:
    if stage.parent is not None:
        return replace(work.done[stage.parent], own_command=False)
    if stage.base == SCRATCH:
        return empty()
    return await bases.settings_of(work.images, stage.base, work.needed, pull=work.order.pull)


def text_of(path: str) -> str:
    with open(path, "rb") as opened:
        data = opened.read(BYTES_MAX + 1)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise DockerfileError(f"{path} is not UTF-8") from None


def ignored(order: BuildOrder) -> str:
    """A Dockerfile may have an ignore file of its own."""
    for path in (f"{order.dockerfile}.dockerignore", f"{order.context}/.dockerignore"):
        if os.path.isfile(path):
            return text_of(path)
    return ""


def finish(images: ImageStore, settings: Settings, work: Work) -> tuple[str, list[str]]:
    """Configuration and manifest in the store, under every name that was asked for."""
    labels = {**(settings.config.get("Labels") or {}), **work.order.labels}
    settings = settings.with_config(Labels=labels or None)
    body = json.dumps(config_of(settings, work.plan.globals["TARGETARCH"])).encode()
    config = Descriptor("", images.layout.put(body), len(body))
    layers = [Descriptor(layer.media_type, layer.digest, layer.size) for layer in settings.layers]
    manifest = images.layout.put_manifest(config, layers)
    names = [parse_reference(tag).name for tag in work.order.tags] or [f"localhost/built@{manifest.digest}"]
    for name in names:
        images.add(name, manifest)
    return config.digest, names


def config_of(settings: Settings, architecture: str) -> Mapping[str, Any]:
    """An image configuration (OCI image spec, config.md)."""
    return {
        "created": settings.created,
        "architecture": architecture,
        "os": "linux",
        "config": dict(settings.config),
        "rootfs": {"type": "layers", "diff_ids": list(settings.diff_ids)},
        "history": list(settings.history),
    }
