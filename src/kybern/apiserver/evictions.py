"""pods/eviction: a deletion that is asked for, so that budgets may refuse it."""

from kybern.api.meta_v1 import DeleteOptions, Status
from kybern.api.policy_v1 import Eviction
from kybern.apiserver.deletion import delete
from kybern.apiserver.machine import Machine
from kybern.apiserver.options import Writing, manager_of
from kybern.apiserver.request import ApiRequest


class Evictions:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    async def create(self, eviction: Eviction, request: ApiRequest) -> Status:
        at = request.attributes
        storage = self.machine.storages[("", "v1", "pods")]
        options = eviction.delete_options or DeleteOptions()
        writing = Writing(
            user=request.user,
            manager=manager_of(request.http.headers.get("user-agent", "")),
            dry_run=bool(options.dry_run or request.params.get("dryRun")),
            warnings=request.warnings,
            options=options,
        )
        await delete(self.machine, storage, at.namespace, at.name, options, writing)
        return Status(status="Success", code=201)
