"""ValidatingAdmissionPolicy, as a plugin: nothing, as long as nobody binds a policy."""

from kybern.api.admissionregistration_v1 import ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding
from kybern.apiserver.admission.matching.matcher import Matcher
from kybern.apiserver.admission.plugin import Inputs, Plugin
from kybern.apiserver.admission.policies.source import Policies
from kybern.apiserver.request import Admission


class ValidatingPolicies(Plugin):
    name = "ValidatingAdmissionPolicy"

    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.matcher = Matcher(inputs.objects)
        self.source = Policies(inputs.objects, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding)

    async def validate(self, admission: Admission) -> None:
        if self.source.bound:
            from kybern.apiserver.admission.policies.judging import Judge  # with the engine

            await Judge(self.inputs, self.matcher).judge(self.source.bound, admission)
