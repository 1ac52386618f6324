"""Programs that know credentials for registries: who is asked, what is believed, and for how long."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from kybern.aio.clock import SystemClock
from kybern.kubelet import credential_providers
from kybern.kubelet.credential_providers import CredentialProviders, NoAnswer, Provider, answer_of, providers_of
from kybern.kubelet.credentials import matches
from kybern.runtime.cri import AuthConfig

CONFIG = """
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: helper
  matchImages: ["*.registry.example", "reg.example:5000/team"]
  defaultCacheDuration: 12h
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  args: [get, --quiet]
  env: [{name: PROFILE, value: work}]
"""
API = "credentialprovider.kubelet.k8s.io/v1"
HELPER = Provider(name="helper", images=("*.example", "docker.io"), api_version=API, cache_seconds=60.0)


def answer(**changes: Any) -> dict[str, Any]:
    auth = {"*.example": {"username": "me", "password": "secret"}}
    return {"apiVersion": API, "kind": "CredentialProviderResponse", "cacheKeyType": "Registry", "auth": auth} | changes


class Clock(SystemClock):
    def __init__(self) -> None:
        super().__init__()
        self.later = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.later


class Machine:
    """With one program, which notes what it is asked and answers what it is told to."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.clock = directory, Clock()
        self.providers = CredentialProviders([HELPER], str(directory), self.clock)

    def answers(self, told: object, then: str = "") -> None:
        (self.directory / "answer").write_text(json.dumps(told))
        program = self.directory / "helper"
        program.write_text(f"#!/bin/sh\ncd {self.directory}; cat >> asked; echo >> asked; cat answer; {then}\n")
        program.chmod(0o700)

    def asked(self) -> list[str]:
        path = self.directory / "asked"
        return [json.loads(line)["image"] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_configuration_says_whom_to_ask_for_what() -> None:
    assert providers_of(CONFIG) == (
        Provider(
            name="helper",
            images=("*.registry.example", "reg.example:5000/team"),
            api_version=API,
            cache_seconds=12 * 3600.0,
            arguments=("get", "--quiet"),
            variables={"PROFILE": "work"},
        ),
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("kind: CredentialProviderConfig", "kind: Pod", "not a CredentialProviderConfig"),
        ("name: helper", "name: ../helper", "'../helper' is no name of a program"),
        ("defaultCacheDuration: 12h", "defaultCacheDuration: 12", "must be a text"),
        ("kubelet.k8s.io/v1\n  args", "kubelet.k8s.io/v9\n  args", "apiVersion: must be one of"),
        ('["*.registry.example", "reg.example:5000/team"]', "[]", "at least 1 image"),
        ("args:", "tokenAttributes:", "unknown field 'tokenAttributes'"),
    ],
)
def test_a_wrong_configuration_is_refused_by_what_is_wrong(old: str, new: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        providers_of(CONFIG.replace(old, new))


@pytest.mark.parametrize(
    ("where", "image", "found"),
    [
        ("*.registry.example", "eu.registry.example/app:1", True),
        ("*.registry.example", "a.eu.registry.example/app", False),
        ("*.registry.example", "registry.example/app", False),
        ("eu.*.example", "eu.registry.example/app", True),
        ("app*.example", "app2.example/x", True),
        ("reg.example:5000", "reg.example:5000/app", True),
        ("reg.example:5000", "reg.example/app", False),
        ("reg.example", "reg.example:5000/app", False),
        ("reg.example/team", "reg.example/team/app", True),
        ("reg.example/team", "reg.example/other/app", False),
        ("docker.io", "nginx", True),
    ],
)
def test_a_place_matches_host_part_by_part_port_and_beginning_of_the_path(where: str, image: str, found: bool) -> None:
    assert matches(where, image) is found


async def test_an_answer_is_remembered_as_long_and_as_far_as_it_says(machine: Machine) -> None:
    machine.answers(answer(cacheDuration="30s"))
    for image in ("a.example/x", "a.example/y", "b.example/x"):
        assert await machine.providers.credentials(image) == [AuthConfig(username="me", password="secret")]
    assert machine.asked() == ["a.example/x", "b.example/x"]
    machine.clock.later = 31.0
    await machine.providers.credentials("a.example/x")
    assert len(machine.asked()) == 3


@pytest.mark.parametrize(
    ("changes", "asked"),
    [({"cacheKeyType": "Image"}, 3), ({"cacheKeyType": "Global"}, 1), ({"cacheDuration": "0s"}, 4)],
)
async def test_it_may_be_true_of_one_image_or_of_all_or_not_to_be_remembered(
    machine: Machine, changes: dict[str, str], asked: int
) -> None:
    machine.answers(answer(**changes))
    for image in ("a.example/x", "a.example/x", "a.example/y", "b.example/x"):
        await machine.providers.credentials(image)
    assert len(machine.asked()) == asked


async def test_who_is_not_asked_for_an_image_hears_nothing_of_it(machine: Machine) -> None:
    machine.answers(answer())
    assert await machine.providers.credentials("elsewhere.test/x") == []
    assert await machine.providers.credentials("nginx") == []  # asked, and its answer is for another registry
    assert machine.asked() == ["docker.io/library/nginx"]


@pytest.mark.parametrize(
    ("told", "then"),
    [(answer(), "exit 3"), ("nonsense", ""), (answer(cacheKeyType="Planet"), ""), (answer(kind="Pod"), "")],
)
async def test_a_program_that_fails_grants_nothing_and_is_asked_again(
    machine: Machine, told: object, then: str
) -> None:
    machine.answers(told, then)
    for _ in range(2):
        assert await machine.providers.credentials("a.example/x") == []
    assert len(machine.asked()) == 2


async def test_a_program_that_is_not_there_grants_nothing(machine: Machine) -> None:
    assert await machine.providers.credentials("a.example/x") == []


async def test_a_program_that_talks_without_end_or_does_not_answer_is_ended(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credential_providers, "ANSWER_BYTES_MAX", 1000)
    machine.answers(answer(), "exec yes")
    assert await machine.providers.credentials("a.example/x") == []
    monkeypatch.setattr(credential_providers, "ANSWER_SECONDS", 0.2)
    machine.answers(answer(), "echo $$ > pid; exec sleep 1000")
    assert await machine.providers.credentials("a.example/x") == []
    with pytest.raises(ProcessLookupError):
        os.kill(int((machine.directory / "pid").read_text()), 0)


@pytest.mark.parametrize("auth", [{"x": {}}, {"x": {"username": 1, "password": ""}}, [], {"x": None}])
def test_credentials_of_another_shape_are_none(auth: object) -> None:
    body = json.dumps(answer(auth=auth or "x")).encode()
    with pytest.raises(NoAnswer):
        answer_of(HELPER, body)
