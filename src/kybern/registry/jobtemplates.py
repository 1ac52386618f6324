"""What of a job's template may be changed: nothing, but for where its pods will run and what they will get while it rests.

A queue of jobs needs that: it keeps them suspended until it knows which machines they may have.
"""

from kybern.api.batch_v1 import Job
from kybern.api.core_v1 import Affinity, Container, PodTemplateSpec
from kybern.registry.jobstatus import holds
from kybern.registry.parts import changed

Containers = tuple[Container, ...] | None


def may_change_directives(old: Job) -> bool:
    """While it rests and none of its pods is left, where they will run and what they will get may be changed."""
    status = old.status
    rests = holds(status, "Suspended") or not status.start_time
    return bool(old.spec.suspend) and rests and not status.active


def with_directives_of(new: PodTemplateSpec, old: PodTemplateSpec) -> PodTemplateSpec:
    """The old template with what may be changed of a resting job from the new one."""
    spec = changed(
        old.spec,
        affinity=affinity_with_nodes_of(new.spec.affinity, old.spec.affinity),
        node_selector=new.spec.node_selector,
        tolerations=new.spec.tolerations,
        scheduling_gates=new.spec.scheduling_gates,
        containers=with_resources_of(new.spec.containers, old.spec.containers),
        init_containers=with_resources_of(new.spec.init_containers, old.spec.init_containers),
    )
    meta = changed(old.metadata, annotations=new.metadata.annotations, labels=new.metadata.labels)
    return changed(old, metadata=meta, spec=spec)


def affinity_with_nodes_of(new: Affinity | None, old: Affinity | None) -> Affinity | None:
    nodes = new.node_affinity if new is not None else None
    found = changed(old or Affinity(), node_affinity=nodes)
    return None if new is None and found == Affinity() else found


def with_resources_of(new: Containers, old: Containers) -> Containers:
    if old is None or new is None or [one.name for one in new] != [one.name for one in old]:
        return old
    return tuple(changed(before, resources=after.resources) for before, after in zip(old, new, strict=True))
