"""One build under way: what was asked for, what is known, and the two things every step needs: its layer from the cache or
made, and the files that it takes from elsewhere."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from kybern.aio.clock import Clock
from kybern.api.times import written
from kybern.runtime.build import bases
from kybern.runtime.build.cache import BuildCache, Record
from kybern.runtime.build.dockerfile import DockerfileError, Instruction
from kybern.runtime.build.files import FileStep
from kybern.runtime.build.settings import Layer, Settings
from kybern.runtime.build.stages import Plan, Stage
from kybern.runtime.build.workshop import Source, Workshop
from kybern.runtime.images.layout import Needed
from kybern.runtime.images.snapshots import chain_ids
from kybern.runtime.images.store import ImageStore


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOrder:
    """What `kybern image build` asks for; paths are absolute, on the node's machine."""

    context: str
    dockerfile: str
    tags: tuple[str, ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Id to file."""
    agents: Mapping[str, str] = field(default_factory=dict)
    """Id to the socket of an SSH agent."""
    target: str = ""
    no_cache: bool = False
    pull: bool = False


Report = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Told `{"step": ...}`, `{"cached": true}` and `{"line": ...}` as they come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    order: BuildOrder
    plan: Plan
    ignore: str
    """The text of the ignore file."""
    images: ImageStore
    cache: BuildCache
    workshop: Workshop
    clock: Clock
    report: Report
    needed: Needed
    """What must stay in the store until the build is over."""
    done: dict[int, Settings] = field(default_factory=dict)
    """What the stages before have come to, by their number."""
    others: dict[str, tuple[Source, str]] = field(default_factory=dict)
    """The images that files were copied from, by name: one build, one image of a name."""

    async def layer(
        self, settings: Settings, step: Instruction, key: str, make: Callable[[], Awaitable[Layer | None]]
    ) -> Settings:
        """From the cache, or made and put there."""
        record = None if self.order.no_cache else self.cache.find(key, self.clock.wall())
        if record is not None and self._there(record):
            if record.layer is not None:
                self.needed.add(record.layer.digest, chain_ids((*record.below, record.layer.diff_id))[-1])
            await self.report({"cached": True})
        else:
            layer = await make()
            now = self.clock.wall()
            record = Record(settings.diff_ids, layer, written(datetime.fromtimestamp(now, UTC)), now)
            self.cache.keep(key, record)
        return replace(settings, key=key).stepped(step.shown(), record.layer, record.created)

    def _there(self, record: Record) -> bool:
        if record.layer is None:
            return True
        layers = self.images.snapshots.layers((*record.below, record.layer.diff_id))
        return layers is not None and self.images.layout.has(record.layer.digest)

    def layers(self, settings: Settings) -> tuple[str, ...]:
        """The directories of a state's layers, the topmost first."""
        found = self.images.snapshots.layers(settings.diff_ids)
        if found is None:
            raise DockerfileError("a layer of an earlier step is gone; build again")
        return found

    async def source(self, name: str, stage: Stage) -> tuple[Source, str, str]:
        """(where files are taken from, what they are known by or nothing yet, what is left out)."""
        if not name:
            return Source(directory=self.order.context), "", self.ignore
        found = self.plan.find(name, stage.number)
        if found is not None:
            settings = self.done[found.number]
            return Source(layers=self.layers(settings)), settings.key, ""
        if name not in self.others:
            self.others[name] = await bases.source_of(self.images, name, self.needed, pull=self.order.pull)
        return *self.others[name], ""

    async def digest(
        self, source: Source, patterns: tuple[str, ...], ignore: str, exclude: tuple[str, ...] = ()
    ) -> str:
        with self.workshop.bench() as bench:
            return await self.workshop.digest(bench, source, patterns, ignore, exclude)

    async def made_of(self, settings: Settings, step: FileStep, source: Source, ignore: str = "") -> Layer | None:
        """The layer that copying makes."""
        layers = self.layers(settings)
        with self.workshop.bench() as bench:
            await self.workshop.copy(bench, source, step, ignore, layers)
            return await self.workshop.pack(self.needed, bench.upper, layers, settings.diff_ids)
