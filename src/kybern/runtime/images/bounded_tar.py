"""A stranger's tar archive, read as a stream: `tarfile`, less what a header could make it do.

- Further headers (long names, PAX) are read as a whole: they are bounded, as Go's are.
- An entry may be said to have any size. What nobody has read of it is skipped piece by piece, whether there is any or not:
  for ages, unless the end of the stream says no.
"""

import tarfile
from collections.abc import Iterator
from typing import IO

HEADER_BYTES_MAX = 1 << 20
EMPTY_READS_MAX = 8
FURTHER_HEADERS = {
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
}  # fmt: skip


class Refused(Exception):
    """The archive is not one that may be unpacked."""


class Entry(tarfile.TarInfo):
    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in FURTHER_HEADERS and not 0 <= self.size <= HEADER_BYTES_MAX:
            raise Refused(f"a header of more than {HEADER_BYTES_MAX} bytes")
        if self.size < 0:
            raise Refused("a size is negative")
        found: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return found


class Ending:
    """A stream that is asked for more than there is a few times only."""

    def __init__(self, inner: IO[bytes]) -> None:
        self.inner, self.empty_reads = inner, 0

    def read(self, size: int) -> bytes:
        data = self.inner.read(size)
        self.empty_reads += not data
        if self.empty_reads > EMPTY_READS_MAX:
            raise Refused("the archive ends within an entry")
        return data


def open_tar(stream: IO[bytes], compression: str = "") -> tarfile.TarFile:
    """`compression` as `tarfile` names it, `*` for whichever it is."""
    made: tarfile.TarFile = tarfile.TarFile.open(  # type: ignore[call-overload]
        fileobj=Ending(stream), mode=f"r|{compression}", errors="surrogateescape", encoding="utf-8", tarinfo=Entry
    )
    return made


def entries(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Refused as well as `tarfile`'s own errors."""
    for entry in tar:
        yield entry
        tar.members.clear()  # type: ignore[attr-defined]  # it would remember them all
