"""No body makes the server fall over (A3).

`make fuzz` sends 50,000: `FUZZ_BODIES` and `FUZZ_SEED` say how many and which. One seed is fixed, one is fresh each day; what was
once a fault is kept in `crashers/`, one request a file, and sent again each time.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bodies import Sent, Tally, check, prepared, run

BODIES = int(os.environ.get("FUZZ_BODIES", "1000"))
FIXED_SEED = 1
FRESH_SEED = int(os.environ.get("FUZZ_SEED") or datetime.now(UTC).strftime("%Y%m%d"))
CRASHERS = sorted((Path(__file__).parent / "crashers").glob("*.json"))


@pytest.mark.parametrize("seed", [FIXED_SEED, FRESH_SEED])
async def test_every_body_gets_its_object_or_a_status(seed: int) -> None:
    tally = await run(seed, BODIES // 2)
    assert tally.taken > tally.refused / 20, tally  # else nothing is read beyond the parsers
    assert tally.refused > tally.taken / 20, tally


async def test_what_was_once_a_fault_is_none() -> None:
    async with prepared() as server:
        for path in CRASHERS:
            await check(server, Sent.load(path.read_text()), Tally())
