"""The instructions that change only what the image says about itself: each a function from settings to settings."""

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from kybern.runtime.build.dockerfile import DockerfileError, Instruction, json_words
from kybern.runtime.build.expansion import expand, pairs, split
from kybern.runtime.build.settings import Settings
from kybern.runtime.build.stages import arguments_of

PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?", re.ASCII)
DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|ms|s|m|h)", re.ASCII)
NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
Step = Callable[[Settings, Instruction, str], Settings]


def expanded_pairs(settings: Settings, step: Instruction, escape: str) -> dict[str, str]:
    """All from what was set before the instruction, as in Docker."""
    known = settings.variables
    return {expand(name, known, escape): expand(value, known, escape) for name, value in pairs(step.text, escape)}


def words_of(settings: Settings, step: Instruction, escape: str) -> list[str]:
    """The JSON form's, or those between blanks; expanded."""
    words = step.words if step.words is not None else split(step.text, escape)
    return [expand(word, settings.variables, escape) for word in words]


def env(settings: Settings, step: Instruction, escape: str) -> Settings:
    return settings.with_environment(expanded_pairs(settings, step, escape))


def label(settings: Settings, step: Instruction, escape: str) -> Settings:
    return settings.with_config(
        Labels={**(settings.config.get("Labels") or {}), **expanded_pairs(settings, step, escape)}
    )


def expose(settings: Settings, step: Instruction, escape: str) -> Settings:
    ports = dict(settings.config.get("ExposedPorts") or {})
    for word in words_of(settings, step, escape):
        found = PORT.fullmatch(word)
        if found is None or not 0 < int(found[1]) <= int(found[2] or found[1]) <= 65_535:
            raise DockerfileError(f"invalid containerPort: {word}", step.line)
        for port in range(int(found[1]), int(found[2] or found[1]) + 1):
            ports[f"{port}/{found[3] or 'tcp'}"] = {}
    return settings.with_config(ExposedPorts=ports)


def volume(settings: Settings, step: Instruction, escape: str) -> Settings:
    wanted = [word for word in words_of(settings, step, escape) if word]
    if not wanted:
        raise DockerfileError("VOLUME specified can not be an empty string", step.line)
    return settings.with_config(Volumes={**(settings.config.get("Volumes") or {}), **{path: {} for path in wanted}})


def user(settings: Settings, step: Instruction, escape: str) -> Settings:
    return settings.with_config(User=expand(step.text, settings.variables, escape))


def stop_signal(settings: Settings, step: Instruction, escape: str) -> Settings:
    return settings.with_config(StopSignal=expand(step.text, settings.variables, escape))


def shell(settings: Settings, step: Instruction, escape: str) -> Settings:
    return settings.with_config(Shell=list(step.words or ()))


def command_of(settings: Settings, step: Instruction) -> list[str]:
    return list(step.words) if step.words is not None else [*settings.shell, step.text]


def cmd(settings: Settings, step: Instruction, escape: str) -> Settings:
    return replace(settings.with_config(Cmd=command_of(settings, step)), own_command=True)


def entrypoint(settings: Settings, step: Instruction, escape: str) -> Settings:
    """A CMD that came with the base was for the base's ENTRYPOINT."""
    kept = settings if settings.own_command else settings.with_config(Cmd=None)
    return kept.with_config(Entrypoint=command_of(settings, step))


def maintainer(settings: Settings, step: Instruction, escape: str) -> Settings:
    return settings.with_config(Labels={**(settings.config.get("Labels") or {}), "maintainer": step.text})


def on_build(settings: Settings, step: Instruction, escape: str) -> Settings:
    keyword = step.text.split(None, 1)[0].upper()
    if keyword in ("ONBUILD", "FROM", "MAINTAINER"):
        raise DockerfileError(f"{keyword} isn't allowed as an ONBUILD trigger", step.line)
    return settings.with_config(OnBuild=[*(settings.config.get("OnBuild") or ()), step.text])


def health_check(settings: Settings, step: Instruction, escape: str) -> Settings:
    kind, _, rest = step.text.partition(" ")
    if kind.upper() == "NONE":
        return settings.with_config(Healthcheck={"Test": ["NONE"]})
    if kind.upper() != "CMD" or not rest.strip():
        raise DockerfileError(f"unknown type {kind!r} in HEALTHCHECK (try CMD)", step.line)
    words = json_words(rest.strip())
    check: dict[str, object] = {"Test": ["CMD", *words] if words is not None else ["CMD-SHELL", rest.strip()]}
    names = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod",
             "start-interval": "StartInterval"}  # fmt: skip
    for flag, value in step.flags:
        if flag in names:
            check[names[flag]] = duration(value, step.line)
        elif flag == "retries" and value.isdigit():
            check["Retries"] = int(value)
        else:
            raise DockerfileError(f"unknown flag: {flag}", step.line)
    return settings.with_config(Healthcheck=check)


def duration(text: str, line: int) -> int:
    """Nanoseconds."""
    if not re.fullmatch(f"(?:{DURATION.pattern})+", text):
        raise DockerfileError(f"time: invalid duration {text!r}", line)
    return round(sum(float(amount) * NANOSECONDS[unit] for amount, unit in DURATION.findall(text)))


def argument(
    settings: Settings, step: Instruction, escape: str, given: Mapping[str, str], outer: Mapping[str, str]
) -> Settings:
    """What `--build-arg` says, else the default here, else what was set before the first FROM."""
    found = dict(settings.arguments)
    for name, default in arguments_of(step, escape):
        value = outer.get(name) if default is None else expand(default, {**settings.variables, **found}, escape)
        value = given.get(name, value)
        if value is not None:
            found[name] = value
    return replace(settings, arguments=found)


def working_directory(settings: Settings, step: Instruction, escape: str) -> str:
    wanted = expand(step.text, settings.variables, escape)
    if not wanted:
        raise DockerfileError("WORKDIR requires at least one argument", step.line)
    return posixpath.normpath(posixpath.join(settings.working_directory, wanted))


STEPS: Mapping[str, Step] = {
    "CMD": cmd,
    "ENTRYPOINT": entrypoint,
    "ENV": env,
    "EXPOSE": expose,
    "HEALTHCHECK": health_check,
    "LABEL": label,
    "MAINTAINER": maintainer,
    "ONBUILD": on_build,
    "SHELL": shell,
    "STOPSIGNAL": stop_signal,
    "USER": user,
    "VOLUME": volume,
}
