"""MutatingAdmissionPolicy, as a plugin: nothing, as long as nobody binds a policy."""

from kybern.api.admissionregistration_v1 import MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding
from kybern.apiserver.admission.matching.matcher import Matcher
from kybern.apiserver.admission.plugin import Inputs, Plugin
from kybern.apiserver.admission.policies.source import Policies
from kybern.apiserver.request import Admission


class MutatingPolicies(Plugin):
    name = "MutatingAdmissionPolicy"

    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.matcher = Matcher(inputs.objects)
        self.source = Policies(inputs.objects, MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding)

    async def admit(self, admission: Admission) -> None:
        if self.source.bound:
            from kybern.apiserver.admission.policies.changing import Changes  # with the engine

            await Changes(self.inputs, self.matcher).make(self.source.bound, admission)
