"""Priority: a pod's number comes from its PriorityClass and from nowhere else."""

from typing import Any

from msgspec.structs import replace

from kybern.api.core_v1 import Pod
from kybern.api.scheduling_v1 import PriorityClass
from kybern.apiserver.admission.followed import Followed
from kybern.apiserver.admission.plugin import Inputs, Plugin, is_write_of, refused
from kybern.apiserver.request import Admission

NO_CLASS = PriorityClass(value=0)
DEFAULT_POLICY = "PreemptLowerPriority"


class Priority(Plugin):
    name = "Priority"
    kinds = (Pod, PriorityClass)

    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.classes = Followed(inputs.objects, PriorityClass)

    async def admit(self, admission: Admission) -> None:
        if is_write_of(admission, Pod, "CREATE"):
            admission.object = self.with_priority(admission, admission.object)
        elif is_write_of(admission, Pod, "UPDATE"):
            # A client of before the fields were filled in sends none: then they stay.
            pod, old = admission.object, admission.old
            if pod.spec.priority is None and old.spec.priority is not None:
                pod = replace(pod, spec=replace(pod.spec, priority=old.spec.priority))
            if pod.spec.preemption_policy is None and old.spec.preemption_policy is not None:
                pod = replace(pod, spec=replace(pod.spec, preemption_policy=old.spec.preemption_policy))
            admission.object = pod

    async def validate(self, admission: Admission) -> None:
        if not is_write_of(admission, PriorityClass) or not admission.object.global_default:
            return
        default = self.default_class()
        if default is not NO_CLASS and default.metadata.name != admission.object.metadata.name:
            raise refused(
                admission,
                f"PriorityClass {default.metadata.name} is already marked as default. Only one default can exist",
            )

    def with_priority(self, admission: Admission, pod: Pod) -> Pod:
        given = self.class_of(admission, pod)
        computed = "priority admission controller computed {} from the given PriorityClass name"
        if pod.spec.priority is not None and pod.spec.priority != given.value:
            number, known = pod.spec.priority, computed.format(given.value)
            raise refused(
                admission, f"the integer value of priority ({number}) must not be provided in pod spec; {known}"
            )
        policy = given.preemption_policy or DEFAULT_POLICY
        asked = pod.spec.preemption_policy
        if asked is not None and asked != policy:
            known = computed.format(policy)
            raise refused(
                admission, f"the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; {known}"
            )
        changes: dict[str, Any] = {"priority": given.value, "preemption_policy": policy}
        if given.metadata.name:
            changes["priority_class_name"] = given.metadata.name
        return replace(pod, spec=replace(pod.spec, **changes))

    def class_of(self, admission: Admission, pod: Pod) -> PriorityClass:
        name = pod.spec.priority_class_name
        if not name:
            return self.default_class()
        found = self.objects.get(PriorityClass, name)
        if found is None:
            raise refused(admission, f"no PriorityClass with name {name} was found")
        return found

    def default_class(self) -> PriorityClass:
        """The lowest of those that call themselves the default."""
        defaults = [known for known in self.classes.of() if known.global_default]
        return min(defaults, key=lambda known: known.value or 0, default=NO_CLASS)
