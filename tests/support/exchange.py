"""Somebody who swaps two names of the file system without a pause: the attacker in races for a path."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RACES = 2_000  # the catalogue's
PROGRAM = """
import ctypes, sys
exchange = ctypes.CDLL(None, use_errno=True).renameat2
print("ready", flush=True)
while True:
    exchange(-100, sys.argv[1].encode(), -100, sys.argv[2].encode(), 2)
"""


@contextmanager
def exchanging(one: Path, other: Path) -> Iterator[None]:
    swapping = subprocess.Popen([sys.executable, "-c", PROGRAM, str(one), str(other)], stdout=subprocess.PIPE)
    try:
        assert swapping.stdout is not None and swapping.stdout.readline() == b"ready\n"
        swapping.stdout.close()
        yield
    finally:
        swapping.kill()
        swapping.wait()
