"""One call of CRI: a request from its fields, the answer as its message, and what gRPC's codes mean for a pod."""

from typing import Any

from kybern.runtime.cri import RuntimeFault
from kybern.runtime.remote.gate import Gate
from kybern.runtime.remote.messages import RUNTIME, classes, message
from kybern.runtime.remote.peer import DEADLINE_EXCEEDED, NOT_FOUND, UNAVAILABLE, UNIMPLEMENTED, RpcError

CALL_SECONDS = 120.0  # upstream's


class Calls:
    def __init__(self, gate: Gate, seconds: float = CALL_SECONDS) -> None:
        """`seconds`: how long a call may take that says nothing else."""
        self.gate, self.seconds = gate, seconds

    async def call(
        self, method: str, service: str = RUNTIME, *, reason: str = "", seconds: float = 0.0, **fields: Any
    ) -> Any:
        """`reason`: of the RuntimeFault where it fails, for want of a better one."""
        request = message(f"{method}Request", **fields).SerializeToString()
        try:
            answer = await self.gate.call(service + method, request, seconds or self.seconds)
        except RpcError as error:
            raise fault_of(error, reason or f"{method}Error") from error
        return classes()[f"{method}Response"].FromString(answer)

    async def unless_gone(self, method: str, service: str = RUNTIME, **fields: Any) -> None:
        try:
            await self.call(method, service, **fields)
        except RuntimeFault as fault:
            if fault.reason != "NotFound":
                raise


def fault_of(error: RpcError, reason: str) -> Exception:
    if error.code == DEADLINE_EXCEEDED and reason == "ExecError":
        return TimeoutError(error.message)
    if error.code == NOT_FOUND and reason not in ("ErrImagePull", "CreateContainerError"):
        reason = "NotFound"
    if error.code == UNIMPLEMENTED:
        reason = "Unimplemented"
    if error.code == UNAVAILABLE and reason == "ErrImagePull":
        reason = "RegistryUnavailable"
    return RuntimeFault(reason, str(error))
