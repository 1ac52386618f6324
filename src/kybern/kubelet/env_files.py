"""Environment variables from files that an init container wrote into an emptyDir: `fileKeyRef`.

NAME='any text,
over several lines'    # single quotes are needed; blank lines and comments are not read
"""

import errno
import os
import re
from collections.abc import Mapping

from kybern.api.core_v1 import Container, EphemeralContainer, FileKeySelector
from kybern.linux import beneath

FILE_BYTES_MAX = 64 << 10
TEXT_BYTES_MAX = 32 << 10
DECLARATION = re.compile(r"([^=\s'#][^=\s']*)='([^']*)'[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
INDENT = re.compile(r"[ \t]*")


class ConfigFault(Exception):
    """The container cannot be configured as its pod asks; the message is the pod's to show."""


def parsed(text: str, path: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        blank = BLANK.match(text, at)
        if blank is not None:
            at = blank.end()
            continue
        indent = INDENT.match(text, at)
        declared = DECLARATION.match(text, indent.end() if indent else at)
        if declared is None:
            line = text.count("\n", 0, at) + 1
            raise ConfigFault(f'couldn\'t parse env file "{path}": invalid environment variable format in line {line}')
        name, value = declared.groups()
        if len(value) > TEXT_BYTES_MAX:
            raise ConfigFault(f'couldn\'t parse env file "{path}": the value of "{name}" is too long')
        found[name] = value
        at = declared.end()
    return found


def wanted_files(container: Container | EphemeralContainer) -> list[FileKeySelector]:
    return [v.value_from.file_key_ref for v in container.env or () if v.value_from and v.value_from.file_key_ref]


def read_file(directory: str, path: str) -> str | None:
    """None where there is none. Whoever wrote it may have put a link in its place: it leads nowhere outside."""
    root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        text = beneath.read_text(root, path, FILE_BYTES_MAX + 1)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
    finally:
        os.close(root)
    if len(text.encode()) > FILE_BYTES_MAX:
        raise ConfigFault(f'env file "{path}" is larger than {FILE_BYTES_MAX} bytes')
    return text


def file_key(selector: FileKeySelector, files: Mapping[tuple[str, str], str]) -> str | None:
    text = files.get((selector.volume_name, selector.path))
    value = parsed(text, selector.path).get(selector.key) if text is not None else None
    if value is not None or selector.optional:
        return value
    if text is None:
        raise ConfigFault(f'couldn\'t parse env file "{selector.path}": no such file in volume {selector.volume_name}')
    raise ConfigFault(f'environment variable key "{selector.key}" not found in file "{selector.path}"')
