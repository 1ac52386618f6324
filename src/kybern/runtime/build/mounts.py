"""RUN --mount: what a step sees besides its layers. Caches stay from build to build; everything else is gone afterwards."""

from collections.abc import Mapping
from dataclasses import dataclass

from kybern.runtime.build.dockerfile import DockerfileError, Instruction
from kybern.runtime.build.expansion import expand

KINDS = ("bind", "cache", "tmpfs", "secret", "ssh")
AGENTS = "/run/buildkit/ssh_agent.{}"
SECRETS = "/run/secrets"
MODE_MASK = 0o7777


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMount:
    kind: str
    target: str
    """Absolute; empty for a secret that is only a variable."""
    source: str = ""
    """Beneath the context, or beneath the stage or image that `stage` names."""
    stage: str = ""
    identifier: str = ""
    """Of a cache, a secret or an SSH agent."""
    readonly: bool = False
    required: bool = False
    mode: int = 0
    uid: int = 0
    gid: int = 0
    variable: str = ""


def mounts_of(step: Instruction, values: Mapping[str, str], escape: str) -> list[StepMount]:
    texts = [value for name, value in step.flags if name == "mount"]
    return [_mount(step, text, values, escape, number) for number, text in enumerate(texts)]


def _mount(step: Instruction, text: str, values: Mapping[str, str], escape: str, number: int) -> StepMount:
    fields: dict[str, str] = {}
    for field in text.split(","):
        name, equals, value = field.partition("=")
        fields[name.strip().lower()] = expand(value, values, escape) if equals else "true"
    kind = fields.get("type", "bind")
    if kind not in KINDS:
        raise DockerfileError(f"unsupported mount type {kind!r}", step.line)
    target = next((fields[name] for name in ("target", "dst", "destination") if name in fields), "")
    identifier = fields.get("id", "")
    if kind == "secret":
        identifier = identifier or target.rpartition("/")[2]
        if not identifier:
            raise DockerfileError("secret mount has neither id nor target", step.line)
        if not target and "env" not in fields:
            target = f"{SECRETS}/{identifier}"
    elif kind == "ssh":
        identifier = identifier or "default"
        target = target or AGENTS.format(number)
    elif not target.startswith("/"):
        raise DockerfileError(f"invalid mount target {target!r}: an absolute path is needed", step.line)
    return StepMount(
        kind=kind,
        target=target,
        source=next((fields[name] for name in ("source", "src") if name in fields), ""),
        stage=fields.get("from", ""),
        identifier=identifier or target,
        readonly=_truth(fields, ("readonly", "ro"), kind == "bind") and not _truth(fields, ("rw", "readwrite"), False),
        required=_truth(fields, ("required",), False),
        mode=_number(step, fields, "mode", 0o400 if kind == "secret" else 0o755, 8) & MODE_MASK,
        uid=_number(step, fields, "uid", 0, 10),
        gid=_number(step, fields, "gid", 0, 10),
        variable=fields.get("env", ""),
    )


def _truth(fields: Mapping[str, str], names: tuple[str, ...], default: bool) -> bool:
    found = next((fields[name] for name in names if name in fields), None)
    return default if found is None else found.lower() in ("true", "1", "")


def _number(step: Instruction, fields: Mapping[str, str], name: str, default: int, base: int) -> int:
    try:
        return int(fields[name], base) if name in fields else default
    except ValueError:
        raise DockerfileError(f"invalid value {fields[name]!r} for {name}", step.line) from None
