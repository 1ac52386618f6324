"""What a COPY or ADD asks for, as a value: sources, destination, owner and mode."""

import posixpath
from dataclasses import dataclass

from kybern.runtime.build.dockerfile import DockerfileError, Instruction
from kybern.runtime.build.expansion import expand
from kybern.runtime.build.git import Repository, repository
from kybern.runtime.build.settings import Settings
from kybern.runtime.build.steps import words_of

FLAGS = {
    "COPY": frozenset(("from", "chown", "chmod", "link", "parents", "exclude")),
    "ADD": frozenset(("chown", "chmod", "link", "exclude", "checksum", "unpack", "keep-git-dir")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStep:
    patterns: tuple[str, ...]
    destination: str
    """Absolute, with a slash at its end where it must be a directory."""
    urls: tuple[str, ...] = ()
    repositories: tuple[Repository, ...] = ()
    keeps_git: bool = False
    inline: tuple[tuple[str, str], ...] = ()
    """(name, content) of heredocs."""
    stage: str = ""
    owner: str = ""
    mode: int | None = None
    unpack: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str = ""

    def parts(self) -> tuple[str, ...]:
        """All that decides what it does, but for the contents of the files."""
        directories = tuple(each.directory for each in self.repositories)
        lists = (
            self.patterns,
            self.urls,
            directories,
            self.exclude,
            tuple(text for pair in self.inline for text in pair),
        )
        plain = (
            self.destination,
            self.stage,
            self.owner,
            str(self.mode),
            str(self.unpack),
            str(self.parents),
            str(self.keeps_git),
        )
        return (*plain, self.checksum, *(repr(each) for each in lists))


def file_step(settings: Settings, step: Instruction, escape: str) -> FileStep:
    values = settings.variables
    unknown = next((name for name, _ in step.flags if name not in FLAGS[step.keyword]), None)
    if unknown is not None:
        raise DockerfileError(f"unknown flag: {unknown}", step.line)
    *sources, last = words_of(settings, step, escape)
    if not sources:
        raise DockerfileError(f"{step.keyword} requires at least two arguments", step.line)
    inline = {f"<<{each.name}": each for each in step.heredocs} | {f"<<-{each.name}": each for each in step.heredocs}
    written = tuple(
        (
            inline[name].name,
            expand(inline[name].content, values, escape) if inline[name].expand else inline[name].content,
        )
        for name in sources
        if name in inline
    )
    others = [name for name in sources if name not in inline]
    fetched = others if step.keyword == "ADD" else []
    repositories = {name: found for name in fetched if (found := repository(name, step.line)) is not None}
    urls = tuple(n for n in fetched if n.startswith(("http://", "https://")) and n not in repositories)
    if len(sources) > 1 and not last.endswith("/") and last not in (".", ".."):
        raise DockerfileError(
            f"when using {step.keyword} with more than one source file, the destination must be a directory "
            "and end with a /",
            step.line,
        )
    return FileStep(
        patterns=tuple(name for name in others if name not in urls and name not in repositories),
        destination=destination_of(settings, last),
        urls=urls,
        repositories=tuple(repositories.values()),
        keeps_git=any(name == "keep-git-dir" and value in ("", "true") for name, value in step.flags),
        inline=written,
        stage=step.flag("from"),
        owner=expand(step.flag("chown"), values, escape),
        mode=mode_of(step, expand(step.flag("chmod"), values, escape)),
        unpack=step.keyword == "ADD" and step.flag("unpack", "true") != "false",
        parents=any(name == "parents" and value in ("", "true") for name, value in step.flags),
        exclude=tuple(expand(value, values, escape) for name, value in step.flags if name == "exclude"),
        checksum=expand(step.flag("checksum"), values, escape),
    )


def destination_of(settings: Settings, word: str) -> str:
    whole = posixpath.normpath(posixpath.join(settings.working_directory, word))
    directory = word.endswith("/") or word.rpartition("/")[2] in (".", "..")
    return whole if not directory or whole == "/" else f"{whole}/"


def mode_of(step: Instruction, text: str) -> int | None:
    if not text:
        return None
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise DockerfileError(f"invalid chmod parameter: {text!r}. it should be octal string and between 0 and 07777")
    return mode
