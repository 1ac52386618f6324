"""The SQLite file behind a store: one row for each change, appended in one transaction per batch, checksummed.

Exactly one connection opens the file, in exclusive locking mode, and it is used in one thread at a time: SQLite before
3.51.3 can corrupt a WAL that two connections checkpoint. `synchronous=FULL` makes a commit survive a power loss.

A batch is written by one statement. The interpreter's lock is given up and taken back around every statement, which
costs milliseconds while another thread computes; so statements, not rows, are what must be few.
"""

import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from kybern.store.interface import Change, Entry, Unavailable
from kybern.store.log import entry_of
from kybern.store.seal import FORM, OPEN, Seal

SCHEMA_VERSION = 1
ROWS_PER_STATEMENT_MAX = 500  # five parameters each, far below SQLite's 32766
DELETIONS_PER_BATCH_MAX = 500  # compaction shares the disk with writers: a little with every batch

SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
    revision INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB, created INTEGER NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""

Row = tuple[int, str, bytes | None, int, int]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction does."""

    changes: Sequence[Change]
    superseded: Sequence[int] = ()
    """Revisions whose rows compaction has made unreachable."""
    compacted: int = 0
    """The oldest revision from now on; it is on disk before the first superseded row goes. 0: as it was."""


@dataclass(slots=True)
class Loaded:
    entries: dict[str, Entry]
    history: list[Change]
    superseded: list[int]
    revision: int
    oldest: int


class SqliteFile:
    def __init__(self, path: Path, seal: Seal = OPEN) -> None:
        """Opens the file, making it if need be. Unavailable where that cannot be done."""
        self._seal = seal
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"the store {path} cannot be opened: {error}") from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._db.close()
            raise Unavailable(f"the store {path} cannot be opened: {error}") from error

    def _prepare(self) -> None:
        run = self._db.execute
        run("PRAGMA locking_mode=EXCLUSIVE")
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=FULL")
        run("PRAGMA trusted_schema=OFF")
        (version,) = run("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise sqlite3.DatabaseError(f"its format {version} is not {SCHEMA_VERSION}, the one this version writes")
        self._db.executescript(SCHEMA)
        run(f"PRAGMA user_version={SCHEMA_VERSION}")

    def load(self) -> Loaded:
        """Everything, replayed from the rows. Unavailable where a row is not what was written."""
        try:
            meta: dict[str, int] = dict(self._db.execute("SELECT name, value FROM meta"))
            self._seal_again()
            rows = self._db.execute("SELECT revision, key, value, created, checksum FROM log ORDER BY revision")
            return replay(rows, compacted_in(meta), self._seal)
        except (sqlite3.Error, ArithmeticError, LookupError, ValueError, TypeError, AttributeError) as error:
            raise Unavailable(f"the store cannot be read: {error}") from error

    def commit(self, batch: Batch) -> None:
        """Durable when it returns; nothing of it has happened when it raises sqlite3.Error, unless it is an I/O error."""
        rows = [row_of(change, self._seal) for change in batch.changes]
        if len(rows) <= ROWS_PER_STATEMENT_MAX and not batch.superseded and not batch.compacted:
            self._insert(rows)
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            if batch.compacted:
                both = (batch.compacted, number_checksum(batch.compacted))
                self._db.execute("INSERT OR REPLACE INTO meta VALUES ('compacted', ?), ('compacted checksum', ?)", both)
            for first in range(0, len(rows), ROWS_PER_STATEMENT_MAX):
                self._insert(rows[first : first + ROWS_PER_STATEMENT_MAX])
            if batch.superseded:
                marks = ",".join("?" * len(batch.superseded))
                self._db.execute(f"DELETE FROM log WHERE revision IN ({marks})", batch.superseded)
            self._db.execute("COMMIT")
        except sqlite3.Error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _insert(self, rows: Sequence[Row]) -> None:
        marks = ",".join(["(?,?,?,?,?)"] * len(rows))
        self._db.execute(f"INSERT INTO log VALUES {marks}", [field for row in rows for field in row])

    def _seal_again(self) -> None:
        """What is on disk in another form than it would be written in today is rewritten, and no trace of it left."""
        concerned = " OR ".join(["substr(value, 1, ?) = ?", *["substr(key, 1, ?) = ?"] * len(self._seal.prefixes)])
        beginnings = [field for text in (FORM, *self._seal.prefixes) for field in (len(text), text)]
        rows = self._db.execute(
            f"SELECT revision, key, value, created, checksum FROM log WHERE value IS NOT NULL AND ({concerned})",
            beginnings,
        )
        stale = [row for row in rows if not self._seal.is_current(row[1], row[2])]
        if not stale:
            return
        self._db.execute("BEGIN IMMEDIATE")
        for revision, key, stored, created, expected in stale:
            check(revision, key, stored, created, expected)
            sealed = self._seal.close(key, self._seal.open(key, stored))
            fields = (sealed, checksum(revision, key, sealed, created), revision)
            self._db.execute("UPDATE log SET value = ?, checksum = ? WHERE revision = ?", fields)
        self._db.execute("COMMIT")
        self._db.execute("VACUUM")  # freed pages still hold what was in them
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        self._db.close()


def row_of(change: Change, seal: Seal = OPEN) -> Row:
    created = 0 if change.value is None else entry_of(change).created
    stored = None if change.value is None else seal.close(change.key, change.value)
    return change.revision, change.key, stored, created, checksum(change.revision, change.key, stored, created)


def checksum(revision: int, key: str, value: bytes | None, created: int) -> int:
    head = f"{revision} {created} {'-' if value is None else '+'} {key}\n".encode()
    return crc32(value or b"", crc32(head))


def number_checksum(number: int) -> int:
    return crc32(str(number).encode())


def compacted_in(meta: dict[str, int]) -> int:
    """The revision up to which the past was forgotten; 0 where nothing was."""
    if not meta:
        return 0
    found = meta["compacted"]
    expected = number_checksum(found)
    if meta.get("compacted checksum", expected) != expected:
        raise Unavailable("the note of the last compaction is damaged: its checksum does not fit")
    return found


def check(revision: int, key: str, value: bytes | None, created: int, expected: int) -> None:
    if checksum(revision, key, value, created) != expected:
        raise Unavailable(f"the row of revision {revision} is damaged: its checksum does not fit")


def replay(rows: Iterable[Row], oldest: int, seal: Seal = OPEN) -> Loaded:
    """The state that the rows add up to, the history after `oldest`, and what a compaction left undone."""
    entries: dict[str, Entry] = {}
    history: list[Change] = []
    superseded: list[int] = []
    revision = oldest
    for revision, key, stored, created, expected in rows:
        check(revision, key, stored, created, expected)
        value = None if stored is None else seal.open(key, stored)
        previous = entries.pop(key, None)
        if revision > oldest:
            history.append(Change(key, revision, value, previous))
        elif previous is not None:
            superseded.append(previous.revision)
        if value is not None:
            entries[key] = Entry(key, value, created, revision)
        elif revision <= oldest:
            superseded.append(revision)
    return Loaded(entries, history, superseded, max(revision, oldest), oldest)


def unreachable(forgotten: Iterable[Change]) -> list[int]:
    """The rows that nothing can ask for once these changes are forgotten."""
    return [
        revision
        for change in forgotten
        for revision in (
            *((change.previous.revision,) if change.previous else ()),
            *((change.revision,) if change.value is None else ()),
        )
    ]
