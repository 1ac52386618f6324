"""RuntimeClass: a pod's runtime exists, and what it costs and where it is installed becomes part of the pod."""

from msgspec.structs import replace

from kybern.api.core_v1 import Pod
from kybern.api.node_v1 import RuntimeClass
from kybern.apiserver.admission.plugin import Plugin, is_write_of, refused
from kybern.apiserver.request import Admission


class RuntimeClassAdmission(Plugin):
    name = "RuntimeClass"
    kinds = (Pod,)

    async def admit(self, admission: Admission) -> None:
        if not is_write_of(admission, Pod, "CREATE"):
            return
        found = self.runtime_class(admission)
        if found is not None:
            admission.object = with_scheduling(admission, with_overhead(admission, found), found)

    async def validate(self, admission: Admission) -> None:
        if not is_write_of(admission, Pod, "CREATE"):
            return
        found = self.runtime_class(admission)
        expected = found.overhead.pod_fixed if found and found.overhead else None
        actual = admission.object.spec.overhead
        if expected is None and actual:
            raise refused(
                admission, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            )
        if expected is not None and dict(actual or {}) != dict(expected):
            raise overhead_differs(admission)

    def runtime_class(self, admission: Admission) -> RuntimeClass | None:
        name = admission.object.spec.runtime_class_name
        if not name:
            return None
        found = self.objects.get(RuntimeClass, name)
        if found is None:
            raise refused(admission, f'pod rejected: RuntimeClass "{name}" not found')
        return found


def overhead_differs(admission: Admission) -> Exception:
    return refused(admission, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")


def with_overhead(admission: Admission, found: RuntimeClass) -> Pod:
    pod: Pod = admission.object
    if found.overhead is None:
        return pod
    overhead = found.overhead.pod_fixed or {}
    if pod.spec.overhead and dict(pod.spec.overhead) != dict(overhead):
        raise overhead_differs(admission)
    return replace(pod, spec=replace(pod.spec, overhead=overhead))


def with_scheduling(admission: Admission, pod: Pod, found: RuntimeClass) -> Pod:
    if found.scheduling is None:
        return pod
    selector = dict(pod.spec.node_selector or {})
    for key, value in (found.scheduling.node_selector or {}).items():
        if selector.setdefault(key, value) != value:
            raise refused(
                admission,
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                f"pod.spec.nodeSelector[{key}] = {selector[key]}",
            )
    given = pod.spec.tolerations or ()
    more = tuple(toleration for toleration in found.scheduling.tolerations or () if toleration not in given)
    spec = replace(pod.spec, node_selector=selector or None, tolerations=(*given, *more) or None)
    return replace(pod, spec=spec)
