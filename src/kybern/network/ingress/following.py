"""Follows what the proxy is made of: Ingresses of our class, their Services and endpoints, and their certificates.

The address goes into the status of every Ingress that is served; what is wrong with one is said by an event, when it is
new. A certificate belongs to its Secret: a host without a usable one is answered with the proxy's own.
"""

import asyncio
import base64
import binascii
import logging
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from kybern.api.core_v1 import Namespace, Secret, Service
from kybern.api.discovery_v1 import EndpointSlice
from kybern.api.errors import ApiError
from kybern.api.networking_v1 import (
    Ingress,
    IngressClass,
    IngressLoadBalancerIngress,
    IngressLoadBalancerStatus,
)
from kybern.client import Client
from kybern.client.events import Recorder
from kybern.client.view import View
from kybern.network.follow import EndpointSlices, changed_within
from kybern.network.ingress.proxy import IngressProxy
from kybern.network.ingress.routing import Backends, is_of_class, names_of, problems, table

CONTROLLER = "kybern.io/ingress"
KINDS: tuple[type[Any], ...] = (Ingress, IngressClass, Service, EndpointSlice, Secret, Namespace)
RETRY_SECONDS = 5.0

log = logging.getLogger(__name__)


class IngressFollower:
    def __init__(
        self,
        client: Client,
        view: View,
        recorder: Recorder,
        proxy: IngressProxy,
        addresses: Sequence[str],
        certify: Callable[[bytes, bytes], ssl.SSLContext],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`certify`: certificate and key to a context; ValueError or OSError where they are none. `changed` is called
        when anything did that backends or certificates are made of."""
        self.client, self.view, self.recorder, self.proxy = client, view, recorder, proxy
        self.addresses, self.certify = addresses, certify
        self.slices = EndpointSlices()
        self.contexts: dict[str, ssl.SSLContext] = {}
        """By host."""
        self.read: dict[tuple[str, str], tuple[str, ssl.SSLContext | None]] = {}
        """Secret → its revision, and what became of it."""
        self.said: dict[str, tuple[str, ...]] = {}
        self.changed = asyncio.Event()
        self.others_changed = changed
        view.on_change(EndpointSlice, self._slice_changed)
        for kind in (Ingress, IngressClass, Service, Secret):
            view.on_change(kind, lambda old, new: self._something_changed())

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        self.slices.replace(old, new)
        self._something_changed()

    def _something_changed(self) -> None:
        self.changed.set()
        self.others_changed()

    async def run(self) -> None:
        while True:
            self.changed.clear()
            again = None
            try:
                await self.sync()
            except ApiError as error:
                log.warning("statuses of Ingresses are written again in %.0f s: %s", RETRY_SECONDS, error.message)
                again = RETRY_SECONDS
            await changed_within(self.changed, again)

    async def sync(self) -> None:
        ours = list(self.served())
        backends = self.backends()
        wrong = {ingress.metadata.uid or "": problems(ingress, backends) for ingress in ours}
        self.contexts = dict(self.certificates(ours, wrong))
        self.proxy.use(table(ours, backends), frozenset(self.contexts))
        for ingress in ours:
            self.say(ingress, tuple(wrong[ingress.metadata.uid or ""]))
            await self.tell_address(ingress)
        self.said = {uid: what for uid, what in self.said.items() if uid in wrong}

    def backends(self) -> Backends:
        services = {
            (service.metadata.namespace or "", service.metadata.name or ""): service
            for service in self.view.list(Service)
        }
        return Backends(services, self.slices.of_service)

    def served(self) -> Iterator[Ingress]:
        classes = [
            found.metadata.name or "" for found in self.view.list(IngressClass) if found.spec.controller == CONTROLLER
        ]
        for ingress in self.view.list(Ingress):
            if ingress.metadata.deletion_timestamp is None and is_of_class(ingress, classes):
                yield ingress

    def certificates(
        self, ingresses: Iterable[Ingress], wrong: Mapping[str, list[str]]
    ) -> Iterator[tuple[str, ssl.SSLContext]]:
        for ingress in ingresses:
            namespace = ingress.metadata.namespace or ""
            for tls in ingress.spec.tls or ():
                context = self.context_of(namespace, tls.secret_name or "")
                if context is None:
                    wrong[ingress.metadata.uid or ""].append(
                        f"secret {namespace}/{tls.secret_name} holds no usable certificate"
                    )
                    continue
                hosts = tls.hosts or [rule.host for rule in ingress.spec.rules or () if rule.host]
                for host in hosts:
                    yield host.lower(), context

    def context_of(self, namespace: str, name: str) -> ssl.SSLContext | None:
        secret = self.view.get(Secret, name, namespace)
        if secret is None:
            return None
        revision = secret.metadata.resource_version or ""
        known = self.read.get((namespace, name))
        if known is None or known[0] != revision:
            known = self.read[namespace, name] = (revision, self._made(secret))
        return known[1]

    def _made(self, secret: Secret) -> ssl.SSLContext | None:
        try:
            data = {key: base64.b64decode(value) for key, value in (secret.data or {}).items()}
            return self.certify(data["tls.crt"], data["tls.key"])
        except (KeyError, binascii.Error, ValueError, OSError) as error:
            log.info("secret %s/%s: %s", secret.metadata.namespace, secret.metadata.name, error)
            return None

    def context_for(self, host: str | None) -> ssl.SSLContext | None:
        """Of the name that a client asks for (SNI); None for the proxy's own."""
        return next((self.contexts[name] for name in names_of(host or "") if name in self.contexts), None)

    def say(self, ingress: Ingress, what: tuple[str, ...]) -> None:
        uid = ingress.metadata.uid or ""
        for problem in what:
            if problem not in self.said.get(uid, ()):
                self.recorder.event(ingress, "Warning", "Rejected", problem)
        if uid not in self.said:
            self.recorder.event(ingress, "Normal", "Sync", "Scheduled for sync")
        self.said[uid] = what

    async def tell_address(self, ingress: Ingress) -> None:
        wanted = IngressLoadBalancerStatus(
            ingress=tuple(IngressLoadBalancerIngress(ip=address) for address in self.addresses)
        )
        if ingress.status.load_balancer != wanted:
            await self.client.update_status(replace(ingress, status=replace(ingress.status, load_balancer=wanted)))
