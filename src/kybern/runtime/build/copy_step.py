"""COPY, ADD and WORKDIR: steps whose layer is what was copied."""

from dataclasses import replace

from kybern.runtime.build.dockerfile import DockerfileError, Instruction
from kybern.runtime.build.downloads import download
from kybern.runtime.build.files import FileStep, file_step
from kybern.runtime.build.git import check_out
from kybern.runtime.build.settings import Settings
from kybern.runtime.build.stages import Stage
from kybern.runtime.build.steps import working_directory
from kybern.runtime.build.work import Work
from kybern.runtime.build.workshop import Source


async def copy_step(work: Work, settings: Settings, step: Instruction, stage: Stage) -> Settings:
    wanted = file_step(settings, step, work.plan.escape)
    if wanted.repositories:
        return await _add_repository(work, settings, step, wanted)
    if wanted.urls:
        return await _add_downloads(work, settings, step, wanted)
    source, known, ignore = await work.source(wanted.stage, stage)
    known = known or await work.digest(source, wanted.patterns, ignore, wanted.exclude)
    key = settings.keyed(step.keyword, known, *wanted.parts()).key
    return await work.layer(settings, step, key, lambda: work.made_of(settings, wanted, source, ignore))


async def _add_downloads(work: Work, settings: Settings, step: Instruction, wanted: FileStep) -> Settings:
    """An archive from an address is not unpacked, as in Docker; the files are fetched anew each time."""
    if wanted.patterns or wanted.inline:
        raise DockerfileError("ADD takes addresses and files in separate instructions", step.line)
    with work.workshop.bench() as bench:
        fetched = [await download(url, bench.path / "source", wanted.checksum) for url in wanted.urls]
        made = replace(wanted, patterns=tuple(name for name, _ in fetched), unpack=False)
        key = settings.keyed("ADD", *(digest for _, digest in fetched), *wanted.parts()).key
        source = Source(directory=str(bench.path / "source"))
        return await work.layer(settings, step, key, lambda: work.made_of(settings, made, source))


async def _add_repository(work: Work, settings: Settings, step: Instruction, wanted: FileStep) -> Settings:
    """Known by its commit: a branch that has not moved is what it was."""
    if len(wanted.repositories) > 1 or wanted.patterns or wanted.inline or wanted.urls:
        raise DockerfileError("ADD takes a git repository in an instruction of its own", step.line)
    with work.workshop.bench() as bench:
        (repository,), place = wanted.repositories, bench.path / "repository"
        commit = await check_out(repository, place, keep=wanted.keeps_git)
        if wanted.checksum and not commit.startswith(wanted.checksum):
            raise DockerfileError(f"expected checksum to match {wanted.checksum}, got {commit}", step.line)
        made = replace(wanted, patterns=(repository.directory or ".",), unpack=False)
        key = settings.keyed("ADD", commit, *wanted.parts()).key
        source = Source(directory=str(place))
        return await work.layer(settings, step, key, lambda: work.made_of(settings, made, source))


async def working_directory_step(work: Work, settings: Settings, step: Instruction) -> Settings:
    """The directory is made, for the user who works in it."""
    path = working_directory(settings, step, work.plan.escape)
    changed = settings.with_config(WorkingDir=path).keyed("WORKDIR", path)
    made = FileStep(patterns=(), destination=f"{path.rstrip('/')}/", owner=str(settings.config.get("User") or ""))
    return await work.layer(changed, step, changed.key, lambda: work.made_of(settings, made, Source()))
