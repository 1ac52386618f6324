"""Huge pages for as long as a test needs them: what the machine has already is others'."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

COUNT = Path("/proc/sys/vm/nr_hugepages")


@contextmanager
def huge_pages(count: int) -> Iterator[None]:
    """Of the machine's usual size. Skips where it gives none."""
    try:
        before = int(COUNT.read_text())
        COUNT.write_text(str(before + count))
    except OSError as error:
        pytest.skip(f"this machine gives no huge pages: {error}")
    try:
        if int(COUNT.read_text()) < before + count:
            pytest.skip("this machine has no room for huge pages")
        yield
    finally:
        COUNT.write_text(str(int(COUNT.read_text()) - count))
