"""Images for containers: whether to pull, pulling beside everything else, and the back-off after a pull that failed.

`ensure` never waits for a pull. It answers with the image, or with `NotYet`; when the pull has ended the pod is woken
and asks again. So a slow registry delays the containers that need it and nothing else.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

from kybern.aio.backoff import Backoff
from kybern.aio.clock import Clock
from kybern.api.core_v1 import Container, EphemeralContainer, Pod
from kybern.client.events import Recorder
from kybern.kubelet.containers import field_path
from kybern.kubelet.credential_providers import CredentialProviders
from kybern.kubelet.credentials import Login
from kybern.kubelet.memory import Waiting
from kybern.kubelet.pull_records import PullRecords
from kybern.runtime.cri import Image, Runtime, RuntimeFault

PULLS_AT_ONCE_MAX = 5
BACKOFF = Backoff(first_seconds=10.0, max_seconds=300.0)
SHOWN_AS_ERROR_SECONDS = 5.0  # then the pod shows ImagePullBackOff
RETRY_SECONDS = 10.0

log = logging.getLogger(__name__)
Key = tuple[str, str]


class NotYet(Exception):
    """The image is not there yet; `waiting` says why, or is None while it is being pulled."""

    def __init__(self, waiting: Waiting | None) -> None:
        super().__init__(waiting.message if waiting else "")
        self.waiting = waiting


@dataclass(slots=True)
class _Failures:
    count: int
    until: float
    message: str


class Images:
    def __init__(
        self,
        runtime: Runtime,
        recorder: Recorder,
        clock: Clock,
        wake: Callable[[str], None],
        providers: CredentialProviders,
        records: PullRecords,
    ) -> None:
        self.runtime, self.recorder, self.clock, self.wake = runtime, recorder, clock, wake
        self.providers, self.records = providers, records
        self._places = asyncio.Semaphore(PULLS_AT_ONCE_MAX)
        self._one_at_a_time: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._pulling: set[Key] = set()
        self._pulled: dict[Key, str | RuntimeFault] = {}
        self._failures: dict[Key, _Failures] = {}
        # At most one order for each container of the node: `_pulling` sees to that.
        self._orders: asyncio.Queue[tuple[Pod, Container | EphemeralContainer, Sequence[Login]]] = asyncio.Queue()

    async def run(self) -> None:
        """Carry out the pulls that `ensure` asks for."""
        async with asyncio.TaskGroup() as pulls:
            while True:
                pulls.create_task(self._pull(*await self._orders.get()))

    async def ensure(self, pod: Pod, container: Container | EphemeralContainer, logins: Sequence[Login] = ()) -> Image:
        """NotYet where it is not there."""
        key = (pod.metadata.uid or "", container.name)
        if key in self._pulling:
            raise NotYet(None)
        ended = self._pulled.pop(key, None)
        if isinstance(ended, RuntimeFault):
            raise NotYet(self._failed(pod, container, ended))
        name = container.image or ""
        found = await self._status(pod, container, ended or name)
        if ended is not None and found is not None:
            return found
        self.records.settle(name, found.id if found else "")
        usable = found if found is not None and self.records.may_use(name, found.id, logins) else None
        if usable is not None and container.image_pull_policy != "Always":
            text = f'Container image "{name}" already present on machine and can be accessed by the pod'
            self._tell(pod, container, "Normal", "Pulled", text)
            return usable
        self._refuse_never(pod, container)
        self._refuse_in_backoff(pod, container)
        self._pulling.add(key)
        self._orders.put_nowait((pod, container, logins))
        raise NotYet(None)

    async def _status(self, pod: Pod, container: Container | EphemeralContainer, name: str) -> Image | None:
        try:
            return await self.runtime.image_status(name)
        except RuntimeFault as fault:
            reason = fault.reason if fault.reason == "InvalidImageName" else "ImageInspectError"
            message = f'Failed to inspect image "{container.image}": {fault.message}'
            if reason == "InvalidImageName":
                message = f'Failed to apply default image tag "{container.image}": {fault.message}'
            self._tell(pod, container, "Warning", "InspectFailed", message)
            self._tell(pod, container, "Warning", "Failed", f"Error: {reason}")
            raise NotYet(Waiting(reason, message, self.clock.monotonic() + RETRY_SECONDS)) from fault

    def _refuse_never(self, pod: Pod, container: Container | EphemeralContainer) -> None:
        """NotYet where the pull policy forbids what would be needed."""
        if container.image_pull_policy != "Never":
            return
        message = f'Container image "{container.image}" is not present with pull policy of Never'
        self._tell(pod, container, "Warning", "ErrImageNeverPull", message)
        self._tell(pod, container, "Warning", "Failed", "Error: ErrImageNeverPull")
        raise NotYet(Waiting("ErrImageNeverPull", message, self.clock.monotonic() + RETRY_SECONDS))

    def _refuse_in_backoff(self, pod: Pod, container: Container | EphemeralContainer) -> None:
        failures = self._failures.get(_failure_key(pod, container))
        if failures is None or failures.until <= self.clock.monotonic():
            return
        text = f'Back-off pulling image "{container.image}"'
        self._tell(pod, container, "Normal", "BackOff", text)
        self._tell(pod, container, "Warning", "Failed", "Error: ImagePullBackOff")
        message = f"{text}: ErrImagePull: {failures.message}"
        raise NotYet(Waiting("ImagePullBackOff", message, failures.until))

    async def _pull(self, pod: Pod, container: Container | EphemeralContainer, logins: Sequence[Login]) -> None:
        key = (pod.metadata.uid or "", container.name)
        image = container.image or ""
        self._tell(pod, container, "Normal", "Pulling", f'Pulling image "{image}"')
        asked_at = self.clock.monotonic()
        try:
            async with self._one_at_a_time.setdefault(image, asyncio.Lock()), self._places:
                began_at = self.clock.monotonic()
                own = [Login(auth) for auth in await self.providers.credentials(image)]
                image_id = await self._pull_with_any(image, [*logins, *own])
            took = _milliseconds(self.clock.monotonic() - began_at)
            waited = _milliseconds(self.clock.monotonic() - asked_at)
            await self._succeeded(pod, container, image_id, took, waited)
            self._pulled[key] = image_id
        except RuntimeFault as fault:
            self._pulled[key] = fault
        except OSError as error:
            self._pulled[key] = RuntimeFault("ErrImagePull", str(error))
        finally:
            self._pulling.discard(key)
            self.wake(key[0])

    async def _pull_with_any(self, image: str, logins: Sequence[Login]) -> str:
        """With each credential in turn; the last failure counts. Which one it took is remembered."""
        fault: RuntimeFault | None = None
        self.records.began(image)
        for login in logins or (None,):
            try:
                image_id = await self.runtime.pull_image(image, login.auth if login else None)
                self.records.pulled(image, image_id, login)
                return image_id
            except RuntimeFault as failed:
                fault = failed
        self.records.failed(image)
        assert fault is not None
        raise fault

    async def _succeeded(
        self, pod: Pod, container: Container | EphemeralContainer, image_id: str, took: str, waited: str
    ) -> None:
        self._failures.pop(_failure_key(pod, container), None)
        found = await self.runtime.image_status(image_id)
        size = found.size_bytes if found else 0
        text = f'Successfully pulled image "{container.image}" in {took} ({waited} including waiting). '
        self._tell(pod, container, "Normal", "Pulled", f"{text}Image size: {size} bytes.")

    def _failed(self, pod: Pod, container: Container | EphemeralContainer, fault: RuntimeFault) -> Waiting:
        key = _failure_key(pod, container)
        count = self._failures[key].count + 1 if key in self._failures else 1
        now = self.clock.monotonic()
        self._failures[key] = _Failures(count, now + BACKOFF.delay(count), fault.message)
        reason = fault.reason if fault.reason in PULL_REASONS else "ErrImagePull"
        text = f'Failed to pull image "{container.image}": {fault.message}'
        self._tell(pod, container, "Warning", "Failed", text)
        self._tell(pod, container, "Warning", "Failed", f"Error: {reason}")
        return Waiting(reason, fault.message, now + SHOWN_AS_ERROR_SECONDS)

    def _tell(self, pod: Pod, container: Container | EphemeralContainer, kind: str, reason: str, text: str) -> None:
        self.recorder.event(pod, kind, reason, text, field_path=field_path(pod, container.name))

    def forget_pod(self, uid: str) -> None:
        for key in [key for key in self._pulled if key[0] == uid]:
            del self._pulled[key]
        for key in [key for key in self._failures if key[0] == uid]:
            del self._failures[key]


PULL_REASONS = frozenset({"ErrImagePull", "InvalidImageName", "RegistryUnavailable", "SignatureValidationFailed"})


def _failure_key(pod: Pod, container: Container | EphemeralContainer) -> Key:
    return (pod.metadata.uid or "", container.image or "")


def _milliseconds(seconds: float) -> str:
    """As Go prints a duration cut to milliseconds: `120ms`, `1.5s`, `1m2.5s`."""
    thousandths = round(seconds * 1000)
    if thousandths < 1000:
        return f"{thousandths}ms" if thousandths else "0s"
    minutes, rest = divmod(thousandths, 60_000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{text}s" if minutes else f"{text}s"
