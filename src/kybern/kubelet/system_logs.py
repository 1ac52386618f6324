"""`/logs/`: the machine's own log files, as a file server shows `/var/log`.

What is found there is not to be trusted, for a pod may have that directory mounted: links lead nowhere but into it, and
only plain files are opened.
"""

import errno
import html
import mimetypes
import os
import stat
from collections.abc import AsyncIterator
from io import FileIO
from itertools import islice
from urllib.parse import quote

from kybern.linux import beneath
from kybern.web.http import Response

DIRECTORY = "/var/log"
ENTRIES_MAX = 10_000  # of a directory that is listed
PIECE_BYTES = 64 << 10
TEXT = {"Content-Type": "text/plain; charset=utf-8"}
ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ENAMETOOLONG, errno.EINVAL}


def system_log(path: str, directory: str = DIRECTORY) -> Response:
    """The file, or the listing where the path ends with a slash; a directory without one is asked for anew."""
    try:
        return _found(path, directory)
    except PermissionError:
        return Response(403, TEXT, b"403 Forbidden")
    except OSError as error:
        if error.errno not in ABSENT:
            raise
    return Response(404, TEXT, b"404 page not found")


def _found(path: str, directory: str) -> Response:
    if "\0" in path:
        raise OSError(errno.EINVAL, "a name has no zero byte")
    root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        named = beneath.open_path(root, path.strip("/") or ".")
    finally:
        os.close(root)
    try:
        mode = os.fstat(named).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise OSError(errno.EINVAL, "neither file nor directory", path)
        opened = os.open(f"/proc/self/fd/{named}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(named)
    if stat.S_ISREG(mode):
        return Response(200, {"Content-Type": _kind(path)}, _read(os.fdopen(opened, "rb", buffering=0)))
    if path and not path.endswith("/"):
        os.close(opened)
        return Response(301, {"Location": f"{quote(path.rpartition('/')[2])}/"})
    return Response(200, {"Content-Type": "text/html; charset=utf-8"}, _listing(opened))


async def _read(file: FileIO) -> AsyncIterator[bytes]:
    """As much as there is now: a log that grows is read to where it ended."""
    with file:
        left = os.fstat(file.fileno()).st_size
        while left > 0 and (piece := file.read(min(left, PIECE_BYTES))):
            yield piece
            left -= len(piece)


def _listing(directory: int) -> bytes:
    try:
        with os.scandir(directory) as entries:
            names = [entry.name + "/" * entry.is_dir(follow_symlinks=False) for entry in islice(entries, ENTRIES_MAX)]
    finally:
        os.close(directory)
    lines = (f'<a href="{quote(name, errors="surrogateescape")}">{html.escape(name)}</a>\n' for name in sorted(names))
    return f"<pre>\n{''.join(lines)}</pre>\n".encode(errors="replace")


def _kind(path: str) -> str:
    kind, encoding = mimetypes.guess_type(path)
    return "application/octet-stream" if encoding else kind or TEXT["Content-Type"]
