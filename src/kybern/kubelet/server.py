"""The kubelet's own server: logs, exec, attach, port-forward, what runs here and what it uses.

A handler for `web.server`, whose listener asks for client certificates of the cluster's authority. Who may ask for what
is `access`; `/healthz` is for everybody.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from urllib.parse import unquote

from msgspec.structs import replace

from kybern.aio.clock import from_rfc3339
from kybern.api.codec import encode, to_builtins
from kybern.kubelet import exposition
from kybern.kubelet.access import Access
from kybern.kubelet.configz import flags, told
from kybern.kubelet.eviction.thresholds import MEMORY
from kybern.kubelet.kubelet import Kubelet
from kybern.kubelet.logs import LogOptions, open_plain, read_log
from kybern.kubelet.machine import VERSION, memory_bytes, observe_machine
from kybern.kubelet.observed import Observed
from kybern.kubelet.summary import Summary
from kybern.kubelet.system_logs import system_log
from kybern.kubelet.usage import Measured, measure_pod
from kybern.kubelet.worker import PodWorker
from kybern.observe import zpages
from kybern.runtime.cri import ContainerState, ContainerStatus, ExecIO, RuntimeFault
from kybern.runtime.streams import connect_to, serve_remote
from kybern.web.addresses import is_port
from kybern.web.http import Request, Response
from kybern.web.port_forward import accept_port_forward
from kybern.web.remote_command import Streams

TEXT = {"Content-Type": "text/plain"}
JSON = {"Content-Type": "application/json"}
TRUE = ("1", "true")
COMMAND_WORDS_MAX = 1000

Route = Callable[[Request, list[str]], Awaitable[Response]]


class KubeletServer:
    def __init__(self, kubelet: Kubelet, others: Callable[[], Iterable[exposition.Sample]] = tuple) -> None:
        """`others`: what is told at `/metrics` besides the kubelet's own."""
        self.kubelet, self.parts, self.others = kubelet, kubelet.parts, others
        self.access = Access(self.parts.client, self.parts.config.node_name, self.parts.clock)
        self.summary = Summary(self.parts)
        self.started = self.parts.clock.wall()
        self.checked: Counter[str] = Counter()
        """How often each part was asked whether it is well."""
        self.routes: dict[str, Route] = {
            "containerLogs": self._logs,
            "exec": self._exec,
            "attach": self._attach,
            "portForward": self._port_forward,
            "logs": self._system_logs,
            "pods": self._pods,
            "runningpods": self._running_pods,
            "checkpoint": self._checkpoint,
            "stats": self._summary,
            "metrics": self._metrics,
            "configz": self._configz,
            "statusz": self._statusz,
            "flagz": self._flagz,
            "healthz": self._check,
        }

    async def __call__(self, request: Request) -> Response:
        first, *rest = [unquote(part) for part in request.path.strip("/").split("/")]
        if first == "healthz" and not rest:
            self.checked.update(exposition.HEALTH_CHECKS)
            return Response(200, TEXT, b"ok")
        asker = await self.access.who(request)
        if asker is None:
            return Response(401, TEXT, b"Unauthorized")
        refusal = await self.access.may(asker, request, first)
        if refusal:
            return Response(403, TEXT, refusal.encode())
        route = self.routes.get(first)
        if route is None:
            return Response(404, TEXT, b"404 page not found")
        try:
            return await route(request, rest)
        except _Refused as refused:
            return Response(refused.status, TEXT, str(refused).encode())
        except RuntimeFault as fault:
            return Response(404 if fault.reason == "NotFound" else 500, TEXT, fault.message.encode())

    # What is asked about.

    def _worker(self, namespace: str, name: str) -> PodWorker:
        for worker in self.kubelet.workers.values():
            if (worker.pod.metadata.namespace, worker.pod.metadata.name) == (namespace, name):
                return worker
        raise _Refused(404, f'pod "{name}" not found')

    def _container(self, observed: Observed, pod: str, name: str) -> ContainerStatus:
        """The running one."""
        status = observed.latest(name)
        if status is None or status.state is not ContainerState.RUNNING:
            raise _Refused(404, f'container not found ("{name}")')
        return status

    async def _pods(self, request: Request, rest: list[str]) -> Response:
        return _pod_list(self.kubelet.workers.values())

    async def _running_pods(self, request: Request, rest: list[str]) -> Response:
        return _pod_list(worker for worker in self.kubelet.workers.values() if worker.observed.running)

    async def _measure(self) -> list[Measured]:
        """Every pod that runs."""
        workers = [worker for worker in self.kubelet.workers.values() if worker.observed.running]
        return [await measure_pod(self.parts, worker.allocated, worker.observed) for worker in workers]

    async def _summary(self, request: Request, rest: list[str]) -> Response:
        if rest != ["summary"]:
            return Response(404, TEXT, b"404 page not found")
        return Response(200, JSON, encode(self.summary.of(await self._measure())))

    async def _metrics(self, request: Request, rest: list[str]) -> Response:
        workers = list(self.kubelet.workers.values())
        dated: float | None = None
        samples: Iterable[exposition.Sample]
        match rest:
            case []:
                containers = [status for worker in workers for status in worker.observed.containers]
                own = exposition.own_samples(self.parts.config.node_name, workers, containers)
                samples = (*own, *self.others())
            case ["resource"]:
                dated = self.parts.clock.wall()
                used = memory_bytes() - observe_machine(self.parts.config.data_directory)[MEMORY].available
                samples = exposition.resource_samples(await self._measure(), used)
            case ["cadvisor"]:
                dated = self.parts.clock.wall()
                samples = exposition.cadvisor_samples(await self._measure(), os.cpu_count() or 1)
            case ["slis"]:
                samples = exposition.health_samples(self.checked)
            case ["probes"]:
                samples = exposition.probe_samples(workers)
            case _:
                return Response(404, TEXT, b"404 page not found")
        text = exposition.text_of(samples, dated)
        return Response(200, {"Content-Type": exposition.TYPE}, text.encode())

    async def _configz(self, request: Request, rest: list[str]) -> Response:
        return Response(200, JSON, encode({"kubeletconfig": told(self.parts.config)}))

    async def _statusz(self, request: Request, rest: list[str]) -> Response:
        paths = [f"/{name}" for name in sorted(self.routes)]
        accept, now = request.headers.get("accept", ""), self.parts.clock.wall()
        status, kind, body = zpages.statusz("kubelet", VERSION, self.started, now, paths, accept)
        return Response(status, {"Content-Type": kind}, body)

    async def _flagz(self, request: Request, rest: list[str]) -> Response:
        status, kind, body = zpages.flagz("kubelet", flags(self.parts.config), request.headers.get("accept", ""))
        return Response(status, {"Content-Type": kind}, body)

    async def _check(self, request: Request, rest: list[str]) -> Response:
        """One of upstream's checks: whoever answers is well."""
        if len(rest) != 1 or rest[0] not in exposition.HEALTH_CHECKS:
            return Response(404, TEXT, b"404 page not found")
        self.checked.update(rest)
        return Response(200, TEXT, b"ok")

    async def _system_logs(self, request: Request, rest: list[str]) -> Response:
        if not self.parts.config.serves_system_logs:
            return Response(405, TEXT, b"logs endpoint is disabled.")
        if request.method != "GET":
            return Response(405, TEXT, b"405 method not allowed")
        return await asyncio.to_thread(system_log, "/".join(rest) + "/" * request.path.endswith("/"))

    async def _checkpoint(self, request: Request, rest: list[str]) -> Response:
        """No runtime of this node can do it, and it says so."""
        if request.method != "POST":
            return Response(405, TEXT, b"405 method not allowed")
        namespace, name, container = _three(rest)
        self._container(self._worker(namespace, name).observed, name, container)
        text = f"checkpointing of {namespace}/{name}/{container} failed (the container runtime does not support it)"
        return Response(500, TEXT, text.encode())

    async def _logs(self, request: Request, rest: list[str]) -> Response:
        namespace, name, container = _three(rest)
        worker = self._worker(namespace, name)
        observed = worker.observed
        options = log_options(request.params(), self.parts.clock.wall())
        previous = _flag(request.params(), "previous")
        status = observed.previous(container) if previous else observed.latest(container)
        if status is None or status.state is ContainerState.CREATED:
            raise _Refused(400, _without_log(worker, container, previous))

        def goes_on() -> bool:
            now = worker.observed.latest(container)
            return now is not None and now.id == status.id and now.state is ContainerState.RUNNING

        try:
            os.close(open_plain(status.log_path))
        except OSError:
            raise _Refused(404, f'the log of container "{container}" is not there any more') from None
        return Response(200, TEXT, read_log(status.log_path, options, goes_on, self.parts.clock))

    async def _exec(self, request: Request, rest: list[str]) -> Response:
        namespace, name, container = _three(rest)
        status = self._container(self._worker(namespace, name).observed, name, container)
        params = request.params()
        command = params.get("command", [])
        if not command or len(command) > COMMAND_WORDS_MAX:
            raise _Refused(400, "a command is needed")
        wanted = _streams(params)

        async def start() -> ExecIO:
            return await self.parts.runtime.exec(status.id, command, stdin=wanted.stdin, tty=wanted.tty)

        return serve_remote(request, wanted, start, " ".join(command))

    async def _attach(self, request: Request, rest: list[str]) -> Response:
        namespace, name, container = _three(rest)
        status = self._container(self._worker(namespace, name).observed, name, container)
        wanted = _streams(request.params())

        async def start() -> ExecIO:
            return await self.parts.runtime.attach(status.id, stdin=wanted.stdin, tty=wanted.tty)

        return serve_remote(request, wanted, start, container)

    async def _port_forward(self, request: Request, rest: list[str]) -> Response:
        if len(rest) < 2:
            raise _Refused(404, "404 page not found")
        sandbox = self._worker(rest[0], rest[1]).observed.ready_sandbox
        if sandbox is None:
            raise _Refused(404, f'pod "{rest[1]}" is not running')
        texts = [port for text in request.params().get("port", []) for port in text.split(",")]
        if not all(map(is_port, texts)):
            raise _Refused(400, "a port must be a number between 1 and 65535")

        connect = partial(connect_to, self.parts.runtime, sandbox.id)
        return accept_port_forward(request, [int(text) for text in texts], connect)


def _pod_list(workers: Iterable[PodWorker]) -> Response:
    pods = [to_builtins(replace(worker.pod, status=worker.writer.wanted)) for worker in workers]
    return Response(200, JSON, encode({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods}))


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _three(rest: list[str]) -> tuple[str, str, str]:
    """Namespace, pod, container; upstream also allows a uid between the last two."""
    if len(rest) not in (3, 4):
        raise _Refused(404, "404 page not found")
    return rest[0], rest[1], rest[-1]


def _flag(params: dict[str, list[str]], *names: str) -> bool:
    return any(text.lower() in TRUE for name in names for text in params.get(name, [])[:1])


def _streams(params: dict[str, list[str]]) -> Streams:
    """Under the names of the kubelet's API (`input`) and of the API server's (`stdin`)."""
    tty = _flag(params, "tty")
    return Streams(
        stdin=_flag(params, "input", "stdin"),
        stdout=_flag(params, "output", "stdout"),
        stderr=_flag(params, "error", "stderr") and not tty,
        tty=tty,
    )


def log_options(params: dict[str, list[str]], now: float) -> LogOptions:
    since = _number(params, "sinceSeconds")
    moment = params.get("sinceTime", [""])[0]
    stream = params.get("stream", ["All"])[0]
    try:
        begins = from_rfc3339(moment) if moment else None if since is None else now - since
    except ValueError:
        raise _Refused(400, f"sinceTime is not a time: {moment!r}") from None
    return LogOptions(
        follow=_flag(params, "follow"),
        tail_lines=_number(params, "tailLines"),
        since=begins,
        timestamps=_flag(params, "timestamps"),
        bytes_max=_number(params, "limitBytes"),
        stream="" if stream == "All" else stream.lower(),
    )


def _number(params: dict[str, list[str]], name: str) -> int | None:
    text = params.get(name, [""])[0]
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise _Refused(400, f"{name} must be a number that is not negative")
    return int(text)


def _without_log(worker: PodWorker, container: str, previous: bool) -> str:
    named = f'container "{container}" in pod "{worker.pod.metadata.name}"'
    if previous:
        return f"previous terminated {named} not found"
    wanted = worker.writer.wanted
    statuses = (*(wanted.container_statuses or ()), *(wanted.init_container_statuses or ()))
    waiting = next((s.state.waiting for s in statuses if s.name == container and s.state), None)
    reason = (waiting.reason if waiting else None) or "ContainerCreating"
    if reason in ("ErrImagePull", "ImagePullBackOff"):
        return f"{named} is waiting to start: trying and failing to pull image"
    return f"{named} is waiting to start: {reason}"
