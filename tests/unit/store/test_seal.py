"""Values that are encrypted on disk: nothing of them can be found there, and only the right secret opens them."""

import sqlite3
from pathlib import Path

import pytest

from kybern.store.interface import Unavailable
from kybern.store.seal import FORM, OPEN, Seal
from kybern.store.sqlite import SqliteStore

ONE, TWO = b"1" * 32, b"2" * 32
SECRETS = ("/registry/secrets/",)
CANARY = b'{"data":"canary-canary-canary"}'
PLAIN = b'{"data":"no-secret-at-all"}'


def seal(**secrets: bytes) -> Seal:
    return Seal(SECRETS, secrets)


def everything(directory: Path) -> bytes:
    """All bytes of all files: the database, its log, whatever else."""
    return b"".join(path.read_bytes() for path in directory.iterdir())


async def written(directory: Path, how: Seal) -> None:
    store = await SqliteStore.open(directory / "db", how)
    for number in range(50):
        await store.put("/registry/secrets/a/s", CANARY + b"%d" % number)
        await store.put("/registry/configmaps/a/c", PLAIN)
    await store.put("/registry/secrets/a/gone", CANARY)
    await store.delete("/registry/secrets/a/gone")
    assert CANARY not in everything(directory) or how is OPEN  # also while it is in use
    await store.close()


async def test_no_byte_of_a_secret_is_on_disk_while_the_store_is_used_and_after(tmp_path: Path) -> None:
    await written(tmp_path, seal(key1=ONE))
    assert b"canary" not in everything(tmp_path)
    assert b"no-secret-at-all" in everything(tmp_path)
    store = await SqliteStore.open(tmp_path / "db", seal(key1=ONE))
    found = await store.get("/registry/secrets/a/s")
    assert found is not None and found.value == CANARY + b"49"
    assert [change.value for change in await store.changes("/registry/secrets/", after=0)][:2] == [
        CANARY + b"0",
        CANARY + b"1",
    ]
    await store.close()


async def test_without_encryption_the_canary_is_found(tmp_path: Path) -> None:
    await written(tmp_path, OPEN)
    assert b"canary" in everything(tmp_path)


async def test_what_lies_there_unencrypted_is_read_and_rewritten_without_a_trace(tmp_path: Path) -> None:
    await written(tmp_path, OPEN)
    store = await SqliteStore.open(tmp_path / "db", seal(key1=ONE))
    assert b"canary" not in everything(tmp_path)
    found = await store.get("/registry/secrets/a/s")
    assert found is not None and (found.value, found.revision) == (CANARY + b"49", 99)
    await store.close()
    assert b"canary" not in everything(tmp_path)


async def test_a_new_secret_rewrites_everything_and_the_former_is_needed_no_more(tmp_path: Path) -> None:
    await written(tmp_path, seal(key1=ONE))
    await (await SqliteStore.open(tmp_path / "db", seal(key2=TWO, key1=ONE))).close()
    assert FORM + b"key1:" not in everything(tmp_path)
    store = await SqliteStore.open(tmp_path / "db", seal(key2=TWO))
    found = await store.get("/registry/secrets/a/s")
    assert found is not None and found.value == CANARY + b"49"
    await store.close()


async def test_encryption_can_be_given_up(tmp_path: Path) -> None:
    await written(tmp_path, seal(key1=ONE))
    await (await SqliteStore.open(tmp_path / "db", Seal(SECRETS, {"key1": ONE}, writes=False))).close()
    await (await SqliteStore.open(tmp_path / "db")).close()
    assert FORM not in everything(tmp_path)


@pytest.mark.parametrize(
    ("how", "why"),
    [(OPEN, "'key1', which is missing"), (seal(key2=TWO), "is missing"), (seal(key1=TWO), "cannot be decrypted")],
)
async def test_without_the_right_secret_the_store_is_not_opened_and_not_changed(
    tmp_path: Path, how: Seal, why: str
) -> None:
    await written(tmp_path, seal(key1=ONE))
    with pytest.raises(Unavailable, match=why):
        await SqliteStore.open(tmp_path / "db", how)
    store = await SqliteStore.open(tmp_path / "db", seal(key1=ONE))
    assert (await store.get("/registry/secrets/a/s")) is not None
    await store.close()


def test_a_value_cannot_be_passed_off_as_anothers() -> None:
    """Or else who may write one row of the file could have one Secret served as another."""
    how = seal(key1=ONE)
    stored = how.close("/registry/secrets/a/mine", CANARY)
    assert how.open("/registry/secrets/a/mine", stored) == CANARY
    with pytest.raises(Unavailable):
        how.open("/registry/secrets/kube-system/theirs", stored)


@pytest.mark.parametrize("place", [len(FORM) + 6, len(FORM) + 20, -40, -1])
def test_a_changed_byte_is_noticed(place: int) -> None:
    how = seal(key1=ONE)
    stored = bytearray(how.close("/registry/secrets/a/s", CANARY))
    stored[place] ^= 1
    with pytest.raises(Unavailable):
        how.open("/registry/secrets/a/s", bytes(stored))


def test_the_same_value_is_different_each_time() -> None:
    how = seal(key1=ONE)
    stored = [how.close("/registry/secrets/a/s", CANARY) for _ in range(100)]
    assert len(set(stored)) == 100
    assert len({one[len(FORM) + 5 : len(FORM) + 65] for one in stored}) == 100  # nonces and data keys


async def test_the_index_of_the_file_still_fits_after_rewriting(tmp_path: Path) -> None:
    await written(tmp_path, OPEN)
    await (await SqliteStore.open(tmp_path / "db", seal(key1=ONE))).close()
    with sqlite3.connect(tmp_path / "db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*) FROM log").fetchone() == (102,)
    db.close()
