"""The checks of a level at a version: those of `baseline` first, each level's by name, as upstream tells them."""

from collections.abc import Mapping
from functools import cache

from kybern.api.core_v1 import PodSpec
from kybern.apiserver.admission.podsecurity.baseline import BASELINE
from kybern.apiserver.admission.podsecurity.judging import Annotations, Check, Violation
from kybern.apiserver.admission.podsecurity.policy import BASE, HARDENED, Standard
from kybern.apiserver.admission.podsecurity.restricted import IN_PLACE_OF, RESTRICTED


def violations(standard: Standard, spec: PodSpec, annotations: Annotations) -> list[Violation]:
    every = checks(standard.level, standard.minor)
    return [found for check in every if (found := check(spec, annotations)) is not None]


@cache
def checks(level: str, minor: int) -> tuple[Check, ...]:
    if level not in (BASE, HARDENED):
        return ()
    base, more = at(BASELINE, minor), at(RESTRICTED, minor)
    if level == BASE:
        return tuple(base.values())
    replaced = {IN_PLACE_OF.get(name) for name in more}
    return (*(check for name, check in base.items() if name not in replaced), *more.values())


def at(table: Mapping[str, Mapping[int, Check]], minor: int) -> dict[str, Check]:
    """What there was of each check at this version."""
    since = {name: [known for known in versions if known <= minor] for name, versions in table.items()}
    return {name: table[name][max(known)] for name, known in since.items() if known}
