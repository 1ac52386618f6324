"""Credentials for registries from programs of the machine's owner, as upstream's kubelet asks for them.

    <data-dir>/credential-providers.yaml     a CredentialProviderConfig: which program is asked for which images
    <data-dir>/credential-providers/NAME     the programs: the image on standard input, credentials on standard output

A program is asked only when something is pulled; its answer is remembered for as long as it says. One that fails, or that
answers what is none, grants nothing, and the pull goes on without.
"""

import asyncio
import json
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from kybern.aio.clock import Clock
from kybern.aio.timeouts import timeout
from kybern.api.yaml import parse
from kybern.kubelet.credentials import matches, most_specific, repository_of
from kybern.kubelet.settings import seconds, text, texts
from kybern.runtime.cri import AuthConfig

KIND = (("kubelet.config.k8s.io/v1", "kubelet.config.k8s.io/v1beta1"), "CredentialProviderConfig")
API = ("credentialprovider.kubelet.k8s.io/v1", "credentialprovider.kubelet.k8s.io/v1beta1")
FIELDS = frozenset({"name", "matchImages", "defaultCacheDuration", "apiVersion", "args", "env"})
ANSWER_SECONDS = 60.0  # upstream's
ANSWER_BYTES_MAX = 1 << 20
END_SECONDS = 1.0  # something that left its group may hold its output open
REMEMBERED_MAX = 1000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    name: str
    images: tuple[str, ...]
    """`*.registry.example:5000/team`: a host whose parts may be patterns, a port, the beginning of a path."""
    api_version: str
    cache_seconds: float
    arguments: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


class NoAnswer(Exception):
    """The program gave no credentials; the message says why."""


def providers_of(content: str) -> tuple[Provider, ...]:
    """ValueError, naming the provider, where the text is no configuration."""
    found, problems = parse(content)
    if problems:
        raise ValueError(problems[0])
    if not isinstance(found, dict) or found.get("apiVersion") not in KIND[0] or found.get("kind") != KIND[1]:
        raise ValueError(f"not a {KIND[1]} of {KIND[0][0]}")
    entries = found.get("providers")
    if not isinstance(entries, list) or not entries:
        raise ValueError("providers: at least 1 item in plugins is required")
    made = []
    for position, entry in enumerate(entries):
        try:
            made.append(_provider(entry))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"providers[{position}]: {error}") from error
    if len({provider.name for provider in made}) < len(made):
        raise ValueError("providers: two have the same name")
    return tuple(made)


def _provider(entry: Any) -> Provider:
    unknown = sorted(entry.keys() - FIELDS)
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}")
    name = text(entry.get("name"))
    if name in ("", ".", "..") or any(mark in name for mark in "/ \\"):
        raise ValueError(f"{name!r} is no name of a program")
    images = texts(entry.get("matchImages"))
    if not images:
        raise ValueError("matchImages: at least 1 image is required")
    if entry.get("apiVersion") not in API:
        raise ValueError(f"apiVersion: must be one of {', '.join(API)}")
    variables = {text(each["name"]): text(each["value"]) for each in entry.get("env") or ()}
    return Provider(
        name=name,
        images=images,
        api_version=entry["apiVersion"],
        cache_seconds=seconds(entry.get("defaultCacheDuration")),
        arguments=texts(entry.get("args") or []),
        variables=variables,
    )


@dataclass(frozen=True, slots=True)
class Answer:
    scope: str
    """Of what it is true: the image, its registry, or every image that the program is asked for."""
    seconds: float | None
    auths: Mapping[str, AuthConfig]


def answer_of(provider: Provider, body: bytes) -> Answer:
    """NoAnswer where it is none."""
    try:
        told = json.loads(body)
        if (told["apiVersion"], told["kind"]) != (provider.api_version, "CredentialProviderResponse"):
            raise NoAnswer(f"it answered with a {told['kind']} of {told['apiVersion']}")
        scope, lasting = told["cacheKeyType"], told.get("cacheDuration")
        if scope not in ("Image", "Registry", "Global"):
            raise NoAnswer(f"it answered with the unknown cacheKeyType {scope!r}")
        auths = {
            text(where): AuthConfig(username=text(auth["username"]), password=text(auth["password"]))
            for where, auth in (told.get("auth") or {}).items()
        }
        return Answer(scope, None if lasting is None else seconds(lasting), auths)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NoAnswer("it answered with what is no CredentialProviderResponse") from error


class CredentialProviders:
    def __init__(self, providers: Sequence[Provider], directory: str, clock: Clock) -> None:
        self.providers, self.directory, self.clock = providers, directory, clock
        self.remembered: dict[tuple[str, str], tuple[float, Mapping[str, AuthConfig]]] = {}

    async def credentials(self, image: str) -> list[AuthConfig]:
        """Of every program that is asked for this image, the most specific first."""
        image = repository_of(image)
        found: list[tuple[str, AuthConfig]] = []
        for provider in self.providers:
            if not any(matches(pattern, image) for pattern in provider.images):
                continue
            try:
                found += (await self._of(provider, image)).items()
            except (NoAnswer, OSError) as error:
                log.warning("the credential provider %s gave nothing for %s: %s", provider.name, image, error)
        return most_specific(image, found)

    async def _of(self, provider: Provider, image: str) -> Mapping[str, AuthConfig]:
        registry, now = image.partition("/")[0], self.clock.monotonic()
        for scope in (image, registry, ""):
            until, known = self.remembered.get((provider.name, scope), (0.0, {}))
            if until > now:
                return known
        answer = answer_of(provider, await self._ask(provider, image))
        lasting = provider.cache_seconds if answer.seconds is None else answer.seconds
        if lasting > 0:
            scope = {"Image": image, "Registry": registry, "Global": ""}[answer.scope]
            self.remembered.pop((provider.name, scope), None)
            self.remembered[provider.name, scope] = (now + lasting, answer.auths)
            while len(self.remembered) > REMEMBERED_MAX:
                del self.remembered[next(iter(self.remembered))]
        return answer.auths

    async def _ask(self, provider: Provider, image: str) -> bytes:
        process = await asyncio.create_subprocess_exec(
            f"{self.directory}/{provider.name}",
            *provider.arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, **provider.variables},
            start_new_session=True,
        )
        asked = {"kind": "CredentialProviderRequest", "apiVersion": provider.api_version, "image": image}
        try:
            async with timeout(ANSWER_SECONDS):
                body = await _told(process, json.dumps(asked).encode())
                code = await process.wait()
        except TimeoutError:
            raise NoAnswer(f"it did not answer within {ANSWER_SECONDS:g} s") from None
        finally:
            if process.returncode is None:
                await _end(process)
        if code != 0:
            raise NoAnswer(f"it ended with {code}")
        return body


async def _told(process: asyncio.subprocess.Process, given: bytes) -> bytes:
    """What it writes, up to a limit, having read what is given."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(given)
        await process.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        pass  # it does not care what it is asked for
    finally:
        process.stdin.close()
    body = b""
    while piece := await process.stdout.read(ANSWER_BYTES_MAX):
        body += piece
        if len(body) > ANSWER_BYTES_MAX:
            raise NoAnswer(f"its answer is longer than {ANSWER_BYTES_MAX} bytes")
    return body


async def _end(process: asyncio.subprocess.Process) -> None:
    """With what it has started; its end is told once what it had written is read."""
    assert process.stdout is not None
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with timeout(END_SECONDS):
            while await process.stdout.read(ANSWER_BYTES_MAX):
                pass
            await process.wait()
