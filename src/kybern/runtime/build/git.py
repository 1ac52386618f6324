"""ADD of a git repository: `https://host/project.git#branch:directory`, its files as they are at that commit.

Somebody else's repository is fetched by a program that runs as the node: no configuration of the machine's, no hooks, no
helpers, no way but HTTP, for submodules neither.
"""

import asyncio
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kybern.aio.timeouts import timeout
from kybern.runtime.build.dockerfile import DockerfileError

PATH = "/usr/local/bin:/usr/bin:/bin"
SECONDS = 600.0
REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]*")
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
SETTINGS = (
    "protocol.allow=never",
    "protocol.http.allow=always",
    "protocol.https.allow=always",
    "core.hooksPath=/dev/null",
    "credential.helper=",
    "transfer.fsckObjects=true",
    "init.defaultBranch=main",
)


@dataclass(frozen=True, slots=True)
class Repository:
    url: str
    reference: str = ""
    """A branch, tag or commit; empty for what the repository shows first."""
    directory: str = ""


def repository(source: str, line: int) -> Repository | None:
    """None where the source is none. DockerfileError where it cannot be reached from here."""
    url, _, fragment = source.partition("#")
    if url.startswith(("git@", "ssh://", "git://")):
        raise DockerfileError(f"ADD takes git repositories over https only: {url}", line)
    if not (url.startswith(("http://", "https://")) and url.endswith(".git")):
        return None
    reference, _, directory = fragment.partition(":")
    if (reference and not REFERENCE.fullmatch(reference)) or ".." in directory.split("/"):
        raise DockerfileError(f"invalid git reference: {fragment}", line)
    return Repository(url, reference, directory.strip("/"))


async def check_out(wanted: Repository, place: Path, *, keep: bool) -> str:
    """The commit whose files are there now. `keep`: with what git knows of it."""
    program = shutil.which("git", path=PATH)
    if program is None:
        raise DockerfileError("ADD of a git repository needs the program git: apt-get install -y git")
    os.mkdir(place, 0o700)
    git = _Git(program, place)
    await git("init", "--quiet", ".")
    reference = wanted.reference or "HEAD"
    if not await git("fetch", "--quiet", "--depth=1", "--no-tags", "--", wanted.url, reference, may_fail=True):
        # Servers that only hand out files know no depth, and some no commits by name.
        await git("fetch", "--quiet", "--tags", "--", wanted.url, "+refs/heads/*:refs/remotes/origin/*")
        reference = reference if COMMIT.fullmatch(reference) else await git.tip(wanted.url, reference)
        await git("update-ref", "FETCH_HEAD", reference)
    await git("-c", "advice.detachedHead=false", "checkout", "--quiet", "--force", "FETCH_HEAD")
    if (place / ".gitmodules").is_file():
        await git("submodule", "--quiet", "update", "--init", "--recursive", "--depth=1")
    commit = (await git.said("rev-parse", "HEAD")).strip()
    if not keep:
        await asyncio.to_thread(_forget, place)
    return commit


def _forget(place: Path) -> None:
    """Submodules have a file of that name."""
    for above, directories, files in os.walk(place):
        if ".git" in directories:
            directories.remove(".git")
            shutil.rmtree(f"{above}/.git")
        if ".git" in files:
            os.unlink(f"{above}/.git")


class _Git:
    def __init__(self, program: str, place: Path) -> None:
        self.program, self.place = program, place

    async def __call__(self, *words: str, may_fail: bool = False) -> bool:
        code, _, error = await self._run(words)
        if code and not may_fail:
            raise DockerfileError(f"failed to load git repository: {error.strip().splitlines()[-1:] or [code]}")
        return not code

    async def said(self, *words: str) -> str:
        code, output, error = await self._run(words)
        if code:
            raise DockerfileError(f"failed to load git repository: {error.strip()}")
        return output

    async def tip(self, url: str, reference: str) -> str:
        """The commit of a branch or tag, as the server tells it."""
        names = {name: commit for commit, name in _pairs(await self.said("ls-remote", "--", url))}
        for name in (reference, f"refs/heads/{reference}", f"refs/tags/{reference}^{{}}", f"refs/tags/{reference}"):
            if name in names:
                return names[name]
        raise DockerfileError(f"repository does not contain ref {reference}")

    async def _run(self, words: Sequence[str]) -> tuple[int, str, str]:
        settings = [word for setting in SETTINGS for word in ("-c", setting)]
        process = await asyncio.create_subprocess_exec(
            *(self.program, *settings, *words),
            cwd=self.place,
            env={
                "PATH": PATH,
                "HOME": "/nonexistent",
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_TERMINAL_PROMPT": "0",
                "LC_ALL": "C.UTF-8",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with timeout(SECONDS):
                output, error = await process.communicate()
        except TimeoutError:
            raise DockerfileError(f"git {words[0]} took more than {SECONDS:.0f} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, output.decode("utf-8", "replace"), error.decode("utf-8", "replace")


def _pairs(text: str) -> list[tuple[str, str]]:
    return [(commit, name) for commit, _, name in (line.partition("\t") for line in text.splitlines())]
