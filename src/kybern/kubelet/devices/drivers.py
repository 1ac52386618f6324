"""The gateway's drivers of dynamic resource allocation: found by their registration sockets, asked for claims by name."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import grpc

from kybern.kubelet.devices.protocol import allocation, registration

CALL_SECONDS = 45.0  # upstream's
# What a driver says that it speaks -> the service; the first that both know.
SERVICES = {"v1.DRAPlugin": "k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin", "v1beta1.DRAPlugin": "v1beta1.DRAPlugin"}
KIND = "DRAPlugin"

Json = dict[str, Any]


class Drivers:
    def __init__(self) -> None:
        self.by_name: dict[str, tuple[str, grpc.aio.Channel, str]] = {}
        """The registration socket, the connection and the service of each."""
        self.refused: set[str] = set()

    async def look(self, paths: Iterable[str]) -> None:
        """These registration sockets are there now."""
        there = set(paths)
        for name, (path, channel, _) in list(self.by_name.items()):
            if path not in there:
                del self.by_name[name]
                await channel.close()
        self.refused &= there
        known = {path for path, _, _ in self.by_name.values()} | self.refused
        await asyncio.gather(*(self._register(path) for path in there - known))

    async def _register(self, path: str) -> None:
        try:
            async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
                about = await call(
                    channel, "pluginregistration.Registration", "GetInfo", registration, "InfoRequest", "PluginInfo"
                )
                problem = self._add(path, about)
                await call(
                    *(channel, "pluginregistration.Registration", "NotifyRegistrationStatus", registration),
                    *("RegistrationStatus", "RegistrationStatusResponse"),
                    plugin_registered=not problem,
                    error=problem,
                )
                if problem:
                    self.refused.add(path)
        except grpc.aio.AioRpcError:
            return  # nobody is behind it yet: the next look tries again

    def _add(self, path: str, about: Any) -> str:
        """What is wrong with it; empty where it is a driver now."""
        if about.type != KIND:
            return f"no handler registered for plugin type: {about.type} at socket {path}"
        service = next((SERVICES[version] for version in SERVICES if version in about.supported_versions), "")
        if not service:
            return f"none of the versions {list(about.supported_versions)} is supported"
        self.by_name[about.name] = (path, grpc.aio.insecure_channel(f"unix:{about.endpoint}"), service)
        return ""

    async def ask(self, what: str, driver: str, claims: Iterable[Mapping[str, str]]) -> Json:
        """`what` is prepare or unprepare; LookupError for a driver that is not here."""
        if driver not in self.by_name:
            raise LookupError(f"DRA driver {driver} is not registered")
        _, channel, service = self.by_name[driver]
        method = f"Node{what.capitalize()}Resources"
        wanted = [allocation("Claim")(**claim) for claim in claims]
        answer = await call(
            channel, service, method, allocation, f"{method}Request", f"{method}Response", claims=wanted
        )
        return {
            "claims": {
                uid: {
                    "error": found.error,
                    "devices": [
                        [list(d.request_names), list(d.cdi_device_ids), d.pool_name, d.device_name]
                        for d in getattr(found, "devices", ())
                    ],
                }
                for uid, found in answer.claims.items()
            }
        }


async def call(
    channel: grpc.aio.Channel, service: str, method: str, messages: Any, request: str, response: str, **fields: Any
) -> Any:
    made = channel.unary_unary(
        f"/{service}/{method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=messages(response).FromString,
    )
    return await made(messages(request)(**fields), timeout=CALL_SECONDS)
