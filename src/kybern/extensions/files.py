"""Extension files: read at the start, and again when they change. A broken one changes nothing that is in force.

What was in force last is kept beside the cluster's data, so that it stays in force when a process starts again while its
file is broken or gone.

A file is an ordinary module; each of its values that a decorator of `rules` made is one of its rules. It runs with the
rights of the process that loads it, as a plugin of any program does: only root may name one.
"""

import hashlib
import logging
import os
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from kybern.aio.clock import Clock
from kybern.extensions.bounded import LOAD_SECONDS_MAX, Interrupted, at_most
from kybern.extensions.rules import AdmissionRule, ControllerRule, Rule, SchedulerRule

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
NOTHING = "it declares nothing: decorate a function with one of kybern.extensions"

Stamp = tuple[int, int, int]


class Broken(Exception):
    """A file that cannot be loaded; the message holds its traceback."""


def load(path: Path) -> tuple[Rule, ...]:
    """The rules of a file. Broken with what is wrong with it."""
    try:
        return rules_in(path.read_text(), path)
    except (OSError, UnicodeDecodeError) as error:
        raise Broken(f"{path}: {error}") from None


def rules_in(text: str, path: Path) -> tuple[Rule, ...]:
    module = ModuleType(f"kybern_extension_{path.stem}")
    module.__file__ = str(path)
    try:
        with at_most(LOAD_SECONDS_MAX):
            exec(compile(text, str(path), "exec"), module.__dict__)  # noqa: S102 - what an extension is for
    except (Exception, SystemExit, Interrupted):  # noqa: BLE001 - whatever it may be, it is the file's, and its author's to read
        raise Broken(f"{path}:\n{own_traceback(path)}") from None
    found = tuple(
        value for value in vars(module).values() if isinstance(value, AdmissionRule | ControllerRule | SchedulerRule)
    )
    if not found:
        raise Broken(f"{path}: {NOTHING}")
    return found


def own_traceback(path: Path) -> str:
    """From the file on: how it was loaded is nobody's concern."""
    lines = traceback.format_exc().splitlines()
    first = next((number for number, line in enumerate(lines) if str(path) in line), 1)
    return "\n".join([lines[0], *lines[first:]])


@dataclass(slots=True)
class File:
    path: Path
    kept: Path | None
    """Where its last good text is."""
    stamp: Stamp | None = None
    rules: tuple[Rule, ...] = ()

    def load(self) -> None:
        """Broken, and nothing has changed."""
        self.stamp = stamp_of(self.path)
        self.rules = load(self.path)
        self.keep()

    def start(self) -> None:
        try:
            self.load()
        except Broken as error:
            if self.kept is None or not self.kept.exists():
                raise
            log.error("the extension starts as it was last, for its file is broken: %s", error)
            self.rules = rules_in(self.kept.read_text(), self.path)

    def keep(self) -> None:
        if self.kept is None:
            return
        self.kept.parent.mkdir(mode=0o700, exist_ok=True)
        new = self.kept.with_suffix(f".{os.getpid()}")
        new.write_text(self.path.read_text())
        os.replace(new, self.kept)


class Extensions:
    """All files, and what is in force of them. `run` looks for changes; whoever keeps something made of the rules is
    told by `on_change`."""

    def __init__(self, paths: Iterable[Path], kept: Path | None = None) -> None:
        """Broken where one cannot be loaded: what never was in force cannot stay so. `kept` is a directory of ours."""
        self.files = [File(path, kept and kept / f"{digest(path)}.py") for path in paths]
        self.on_change: list[Callable[[], None]] = []
        for file in self.files:
            file.start()

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(rule for file in self.files for rule in file.rules)

    @property
    def admission(self) -> tuple[AdmissionRule, ...]:
        return tuple(rule for rule in self.rules if isinstance(rule, AdmissionRule))

    @property
    def controllers(self) -> tuple[ControllerRule, ...]:
        return tuple(rule for rule in self.rules if isinstance(rule, ControllerRule))

    @property
    def scheduling(self) -> tuple[SchedulerRule, ...]:
        return tuple(rule for rule in self.rules if isinstance(rule, SchedulerRule))

    async def run(self, clock: Clock) -> None:
        while True:
            await clock.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Load again what has changed; where that fails, say why once and keep what is in force."""
        changed = False
        for file in self.files:
            stamp = stamp_of(file.path)
            if stamp is None or stamp == file.stamp:
                continue
            try:
                file.load()
                changed = True
            except Broken as error:
                log.error("the extension stays as it was, for its file is broken: %s", error)
            else:
                log.info("loaded the extension %s again: %d rules", file.path, len(file.rules))
        for told in self.on_change if changed else ():
            told()


def digest(path: Path) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()[:16]


def stamp_of(path: Path) -> Stamp | None:
    """None where there is no such file: editors replace files, and for a moment there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
