"""Who a container's process is, and the last steps before it becomes its program.

Names come from the container's own /etc/passwd and /etc/group, read as files that a stranger wrote.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kybern.linux import beneath, capabilities, mounts, processes, seccomp
from kybern.runtime.warden.owners import SetupError

Process = Mapping[str, Any]

ID_MAX = 2**31 - 1
ACCOUNT_BYTES_MAX = 1 << 20  # of /etc/passwd and /etc/group
LINKS_BACK = 40  # ELOOP: a magic link in the path
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class User(NamedTuple):
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


class CannotRun(Exception):
    """The program cannot be started; `code` is what a shell would end with."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def resolve_user(root: int, user: Mapping[str, Any]) -> User:
    """`username` is what an image's USER says (`name`, `1000`, `name:group`); `uid` and `gid` go before it."""
    name, _, group = str(user.get("username") or "").partition(":")
    accounts, known_groups = _table(root, "etc/passwd", 7), _table(root, "etc/group", 4)
    uid = user.get("uid")
    if uid is None:
        uid = _number(name) if name else 0
    account = _find_account(accounts, name, uid)
    if uid is None:
        if account is None:
            raise SetupError(f"unable to find user {name}: no matching entries in passwd file")
        uid = int(account[2])
    gid = user.get("gid")
    if gid is None:
        gid = _group_id(known_groups, group) if group else int(account[3]) if account else 0
    groups = set(user.get("additionalGids") or ())
    if account is not None and user.get("policy", "Merge") == "Merge":
        groups |= {int(row[2]) for row in known_groups if account[0] in row[3].split(",")}
    for value in (uid, gid, *groups):
        if not 0 <= value <= ID_MAX:
            raise SetupError(f"uids and gids must be in range 0-{ID_MAX}")
    return User(uid, gid, tuple(sorted({gid, *groups})), account[5] if account and account[5] else "/")


def _find_account(accounts: Sequence[list[str]], name: str, uid: int | None) -> list[str] | None:
    if uid is None:
        return next((row for row in accounts if row[0] == name), None)
    return next((row for row in accounts if int(row[2]) == uid), None)


def _group_id(groups: Sequence[list[str]], name: str) -> int:
    number = _number(name)
    if number is not None:
        return number
    found = next((row for row in groups if row[0] == name), None)
    if found is None:
        raise SetupError(f"unable to find group {name}: no matching entries in group file")
    return int(found[2])


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def _table(root: int, path: str, fields: int) -> list[list[str]]:
    """Rows whose number is a number; what else is in the file is left out, as libc does."""
    try:
        text = beneath.read_text(root, path, ACCOUNT_BYTES_MAX)
    except OSError:
        return []
    rows = (line.split(":") for line in text.splitlines())
    numbered = (row for row in rows if len(row) >= fields and _number(row[2]) is not None)
    return [row for row in numbered if fields < 7 or _number(row[3]) is not None]


def become(process: Process, user: User, filter_program: bytes | None) -> None:
    """Give up everything that the process is not to have, in the order in which each step may still be taken."""
    wanted = [name.removeprefix("CAP_") for name in (process.get("capabilities") or {}).get("bounding") or ()]
    no_new_privs = bool(process.get("noNewPrivileges"))
    capabilities.limit_bounding(wanted)
    if filter_program is not None and not no_new_privs:
        seccomp.load(filter_program)  # without no_new_privs this takes CAP_SYS_ADMIN, which is about to go
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    capabilities.set_effective(wanted if user.uid == 0 else ())
    if no_new_privs:
        processes.set_no_new_privs()
        if filter_program is not None:
            seccomp.load(filter_program)


def environment(process: Process, user: User) -> dict[str, str]:
    pairs = (entry.partition("=") for entry in process.get("env") or ())
    found = {name: value for name, _, value in pairs}
    found.setdefault("PATH", DEFAULT_PATH)
    found.setdefault("HOME", user.home)
    return found


def enter_directory(root: int, path: str) -> None:
    """The working directory, which must lie inside the container (CVE-2024-21626)."""
    try:
        opened = beneath.open_at(root, path, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise SetupError(f"chdir to cwd ({path!r}) set in config.json failed: {error.strerror}") from None
    os.fchdir(opened)
    os.close(opened)


def confine(profile: str) -> None:
    """From the next program on, under this AppArmor profile. It is told to a /proc that nobody else has ever seen: the
    container's own may be a volume (CVE-2019-19921)."""
    if not profile:
        return
    try:
        proc = mounts.filesystem("proc")
        told = beneath.open_at(proc, "thread-self/attr/exec", os.O_WRONLY)
        os.write(told, f"exec {profile}".encode())
    except OSError as error:
        raise SetupError(f"apparmor profile {profile}: {(error.strerror or '').lower()}") from error
    os.close(told)
    os.close(proc)


def run(arguments: Sequence[str], variables: Mapping[str, str]) -> None:
    """Becomes the program. Raises CannotRun, in the words Go's os/exec has for it."""
    path = find_program(arguments[0], variables.get("PATH", ""))
    try:
        os.execve(path, list(arguments), dict(variables))
    except FileNotFoundError:
        raise CannotRun(f"exec {path}: no such file or directory", 127) from None
    except OSError as error:
        raise CannotRun(f"exec {path}: {(error.strerror or '').lower()}", 126) from None


def find_program(name: str, search: str) -> str:
    if "/" in name:
        refusal = _refusal(name)
        if refusal is not None:
            code = 126 if refusal == "permission denied" else 127
            about = f"stat {name}: {refusal}" if code == 127 else refusal
            raise CannotRun(f'exec: "{name}": {about}', code)
        return name
    for directory in search.split(":"):
        path = f"{directory or '.'}/{name}"
        if name and _refusal(path) is None:
            return path
    raise CannotRun(f'exec: "{name}": executable file not found in $PATH', 127)


def _refusal(path: str) -> str | None:
    """Why a path cannot be run; None when it can. Links that jump out of the container are not followed."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        here = os.getcwd()
        absolute = path if path.startswith("/") else f"{here}/{path}"
        os.close(beneath.open_path(root, absolute))
    except OSError as error:
        if error.errno == LINKS_BACK:
            return "permission denied"
        return (error.strerror or "").lower()
    finally:
        os.close(root)
    if os.path.isdir(path):
        return "is a directory"
    return None if os.access(path, os.X_OK, effective_ids=False) else "permission denied"
