"""The flow control configuration of every cluster, made where it is missing and kept as its annotation says.

- The mandatory objects are always put right, but for how many shares the exempt level has and lends.
- A suggested one is kept like ours while `apf.kubernetes.io/autoupdate-spec` is "true"; without the annotation, while
  nobody has changed it. With "false" it is its administrator's.
"""

from typing import Any

from msgspec.structs import replace

from kybern.api.errors import Conflict, NotFound
from kybern.api.flowcontrol_v1 import PriorityLevelConfigurationSpec
from kybern.apiserver.bootstrap.create import ensure, in_parallel
from kybern.apiserver.request import Objects
from kybern.registry.flowdefaults import AUTOUPDATE, EXEMPT, MANDATORY, levels, schemas


async def ensure_flow_control(objects: Objects) -> None:
    await in_parallel(*(keep(objects, wanted) for wanted in (*levels(), *schemas())))


async def keep(objects: Objects, wanted: Any) -> None:
    found = objects.get(type(wanted), wanted.metadata.name)
    if found is None:
        await ensure(objects, wanted)
        return
    repaired = repaired_object(found, wanted)
    if repaired is not found:
        try:
            await objects.update(repaired)
        except (Conflict, NotFound):  # somebody was quicker; their change wakes us again
            pass


def repaired_object(found: Any, wanted: Any) -> Any:
    """`found` itself where nothing has to be done."""
    annotations = dict(found.metadata.annotations or {})
    given = annotations.get(AUTOUPDATE)
    ours = wanted.metadata.name in MANDATORY or given == "true" or (given is None and found.metadata.generation == 1)
    annotation = "true" if ours else "false"
    spec = with_own_part(wanted.spec, found) if ours else found.spec
    if (spec, annotation) == (found.spec, given):
        return found
    annotations[AUTOUPDATE] = annotation
    return replace(found, metadata=replace(found.metadata, annotations=annotations), spec=spec)


def with_own_part(spec: Any, found: Any) -> Any:
    """The one part of a mandatory object that is its administrator's."""
    if found.metadata.name == EXEMPT and isinstance(spec, PriorityLevelConfigurationSpec) and found.spec.exempt:
        return replace(spec, exempt=found.spec.exempt)
    return spec
