"""The audit log of a cluster, as its options ask for it."""

from collections.abc import Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.apiserver.audit.audit import Audit
from kybern.apiserver.audit.log_file import MEGABYTE, LogFile, Rotation
from kybern.apiserver.audit.policy import read_policy
from kybern.apiserver.audit.sink import Sink
from kybern.apiserver.audit.webhook import Webhook
from kybern.cmd.remote import remote
from kybern.cmd.server_options import ServerOptions


class Sinks:
    """Where events go, and what has to be done for that beside the requests."""

    def __init__(self) -> None:
        self.all: list[Sink] = []
        self.ends = ExitStack()

    def work(self) -> Iterator[Coroutine[Any, Any, None]]:
        return (sink.run() for sink in self.all if isinstance(sink, Webhook))

    def close(self) -> None:
        self.ends.close()


def audited(options: ServerOptions, clock: Clock, ids: Ids) -> tuple[Audit | None, Sinks]:
    sinks = Sinks()
    if not options.audit_policy_file:
        return None, sinks
    policy = read_policy(Path(options.audit_policy_file).read_bytes())
    if options.audit_log_path:
        rotation = Rotation(options.audit_log_maxsize * MEGABYTE, options.audit_log_maxbackup, options.audit_log_maxage)
        file = LogFile(Path(options.audit_log_path), clock, rotation)
        sinks.ends.callback(file.close)
        sinks.all.append(file)
    if options.audit_webhook_config_file:
        client, path = remote(Path(options.audit_webhook_config_file))
        sinks.ends.callback(client.close)
        sinks.all.append(Webhook(client, path, clock))
    return Audit(policy, sinks.all, clock, ids), sinks
