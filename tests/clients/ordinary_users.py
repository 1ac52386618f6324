"""A user of this machine who may do nothing special, made for the tests and removed after them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
IDS = 65_536
FIRST_ID = 700_000 + os.getpid() % 10_000 * IDS  # of its own for each run of the tests


@dataclass(frozen=True)
class User:
    name: str
    number: int
    home: Path
    python: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "USER": self.name,
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "PYTHONPATH": search_path(),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def command(self, *words: str) -> list[str]:
        """By a shell: setpriv itself still finds its program with root's rights."""
        ids = ["--reuid", str(self.number), "--regid", str(self.number), "--init-groups"]
        return ["setpriv", *ids, "--", "/bin/sh", "-c", 'exec "$0" "$@"', *words]

    def run(self, *words: str, check: bool = True, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            self.command(*words), env=self.environment, cwd=self.home, input=stdin, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        if check and done.returncode != 0:
            pytest.fail(f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def kybern(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return self.run(self.python, "-m", "kybern.cmd.main", *words, check=check)

    def kubectl(self, *words: str, check: bool = True, stdin: str | None = None) -> str:
        return self.run("kubectl", *words, check=check, stdin=stdin).stdout

    def processes(self) -> list[str]:
        """Of the user and of the ids that belong to it."""
        ids = range(FIRST_ID, FIRST_ID + IDS)
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                owner = directory.stat().st_uid
                if owner == self.number or owner in ids:
                    found.append((directory / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return list(filter(None, found))  # one that has ended, and waits to be reaped, has none


def search_path() -> str:
    packages = Path(sys.prefix) / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    return f"{PROJECT / 'src'}:{packages}"


@contextmanager
def ordinary_user() -> Iterator[User]:
    """Skips, with the reason, where there can be none who runs us."""
    if os.geteuid() != 0:
        pytest.skip("making a user needs root")
    for program in ("useradd", "userdel", "setpriv", "newuidmap"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}; install it with: apt-get install -y passwd util-linux uidmap")
    name = f"kybern-test-{os.getpid()}"
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", name], check=True, capture_output=True)
    number = 0
    try:
        given = f"{FIRST_ID}-{FIRST_ID + IDS - 1}"
        for kind in ("uid", "gid"):  # useradd gives some of its own: these are known
            subprocess.run(["sed", "-i", f"/^{name}:/d", f"/etc/sub{kind}"], check=True)
            subprocess.run(["usermod", f"--add-sub{kind}s", given, name], check=True)
        number = int(subprocess.run(["id", "-u", name], check=True, capture_output=True, text=True).stdout)
        found = User(name, number, Path("/home") / name, "")
        for python in (sys.executable, f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"):
            if runs_us(found, python):
                yield User(name, number, found.home, python)
                return
        pytest.skip("an ordinary user may read neither this interpreter nor our packages, and has none of its own")
    finally:
        subprocess.run(["userdel", "--remove", "--force", name], check=False, capture_output=True)
        if number:
            shutil.rmtree(f"/tmp/kybern-{number}", ignore_errors=True)  # the next user may get the same number
        for path in ("/etc/subuid", "/etc/subgid"):
            subprocess.run(["sed", "-i", f"/^{name}:/d", path], check=True)


def runs_us(user: User, python: str) -> bool:
    try:
        return user.run(python, "-c", "import kybern.cmd.node", check=False).returncode == 0
    except OSError:
        return False


def obstacle(user: User) -> str:
    """Why the user's containers cannot run on this machine, by our own word."""
    script = (
        "from pathlib import Path; from kybern.cmd.preflight_rootless import look, obstacles; "
        "print(*(what for what, _ in obstacles(look(Path.home()), True)), sep='; ')"
    )
    return user.run(user.python, "-c", script).stdout.strip()
