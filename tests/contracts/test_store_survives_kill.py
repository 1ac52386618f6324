"""D1: a store killed at any moment has every write that it acknowledged, and never lowers a revision.

STORE_KILLS sets how often (40; with many, add `-o faulthandler_timeout=0`). Each kill hits eight concurrent writers and
a running compaction; the next start goes on with the same file, so recovery is repeated too.
"""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from kybern.store.sqlite_file import SqliteFile

KILLS = int(os.environ.get("STORE_KILLS", "40"))
WRITERS, STEPS_PER_KEY = 8, 4
PROGRAM = Path(__file__).parent / "programs" / "store_writers.py"


@dataclass
class Tally:
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    settled: dict[str, int] = field(default_factory=dict)
    """Keys of former runs with the step whose value they must have for ever."""


def test_no_acknowledged_write_is_lost_to_kill(tmp_path: Path) -> None:
    rng = random.Random(20261)
    path = tmp_path / "state.db"
    tally = Tally()
    revision_max = 0
    for run in range(KILLS):
        answers = run_and_kill(path, run, rng.uniform(0.0, 0.35))
        revision_max = max([revision_max, *(int(line.split()[-1]) for line in answers)])
        file = SqliteFile(path)
        loaded = file.load()
        file.close()
        assert loaded.revision >= revision_max, "a revision was lowered"
        revision_max = loaded.revision
        found = {key: int(entry.value.split(b":")[0]) for key, entry in loaded.entries.items()}
        check(run, answers[1:], found, tally)
        assert tally.lost == []
    print(f"{KILLS} kills, {tally.acknowledged} acknowledged writes, {len(tally.lost)} lost")
    assert tally.acknowledged > KILLS * WRITERS


def run_and_kill(path: Path, run: int, after_seconds: float) -> list[str]:
    """What the writers acknowledged before they were killed, `after_seconds` after the store was open."""
    command = [sys.executable, str(PROGRAM), str(path), str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        opened = child.stdout.readline()
        time.sleep(after_seconds)  # the moment of the kill is what is tried here
        child.send_signal(signal.SIGKILL)
        return [opened, *(line for line in child.stdout if line.endswith("\n"))]


def check(run: int, answers: list[str], found: dict[str, int], tally: Tally) -> None:
    for key, step in tally.settled.items():
        if found.get(key) != step:
            tally.lost.append(f"{key}: {step} became {found.get(key)}")
    last = dict.fromkeys(range(WRITERS), -1)
    for line in answers:
        writer, step, _ = map(int, line.split())
        assert step == last[writer] + 1
        last[writer] = step
        tally.acknowledged += 1
    for writer, step in last.items():
        mine = {key: at for key, at in found.items() if key.startswith(f"/k/{run}/{writer}/")}
        if mine not in (after(run, writer, step), after(run, writer, step + 1)):
            tally.lost.append(f"run {run}, writer {writer}: not the state after step {step} or the one begun")
        tally.settled |= mine


def after(run: int, writer: int, step: int) -> dict[str, int]:
    """The keys of a writer, and the step that wrote each, once it has done `step`."""
    state: dict[str, int] = {}
    for number in range((step + STEPS_PER_KEY) // STEPS_PER_KEY):
        done = min(step, number * STEPS_PER_KEY + STEPS_PER_KEY - 1)
        deleted = done % STEPS_PER_KEY == STEPS_PER_KEY - 1 and number % 2 == 0
        if not deleted:
            state[f"/k/{run}/{writer}/{number}"] = done
    return state
