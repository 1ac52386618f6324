"""Those of kopf's own examples that need more than one object and one operator: peers, pods, signals, webhooks."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from served_api import Served
from webhooks import authority, certificate

pytestmark = pytest.mark.clients

NAME = "kopfexample/kopf-example-1"
POD = {
    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sleeper"},
    "spec": {"containers": [{"name": "the-only-one", "image": "busybox"}]},
}  # fmt: skip
SOONER = """
import kopf

@kopf.on.startup()
def configure(settings, **_):
    settings.execution.default_backoff = 0.5  # what is tried again is tried soon
"""
WITH_A_CERTIFICATE = """
import kopf

@kopf.on.startup()
def configure(settings, **_):
    settings.admission.server = kopf.WebhookServer(
        addr="127.0.0.1", certfile={certfile!r}, pkeyfile={keyfile!r}, cafile={cafile!r}
    )
"""


async def kopf(served: Served, *args: str | Path, standalone: bool = True) -> Any:
    alone = ("--standalone",) if standalone else ()
    return await served.start(sys.executable, "-m", "kopf", "run", "-v", *alone, "-n", "default", *args)


async def test_an_operator_pauses_while_a_peer_of_higher_priority_is_there(examples: Path, served: Served) -> None:
    """06-peering"""
    await served.run("kubectl", "apply", "-f", examples / "crd.yaml")
    peering = examples.parent / "peering.yaml"
    await served.run(
        "kubectl", "apply", "-f", peering, check=False
    )  # definitions, and objects of kinds it knows only then
    await served.run("kubectl", "apply", "-f", peering)

    script = examples / "06-peering" / "example.py"
    first = await kopf(served, script, standalone=False)
    await first.says("Keep-alive in 'default' in 'default': ok.")
    second = await kopf(served, "--dev", script, standalone=False)
    await first.says("Pausing operations in favour of")
    await served.run("kubectl", "apply", "-f", examples / "obj.yaml")
    await second.says("Handler 'create_fn' succeeded")
    assert "Handler 'create_fn' succeeded" not in first.said

    await second.ends()
    await first.says("Resuming operations after the pause.")


async def test_pods_are_seen_and_their_ends_too(examples: Path, served: Served) -> None:
    """10-builtins"""
    operator = await kopf(served, examples / "10-builtins" / "example.py")
    await operator.says("Starting the watch-stream for pods")
    await served.run("kubectl", "create", "-f", "-", stdin=json.dumps(POD))
    await operator.says("=== Pod killing happens in 30s.")
    await served.run("kubectl", "delete", "pod", "sleeper", "--timeout=20s")
    await operator.says("=== Pod killing is cancelled!")


async def test_an_operator_lives_in_a_thread_of_another_program(examples: Path, served: Served) -> None:
    """12-embedded"""
    await served.run("kubectl", "apply", "-f", examples / "crd.yaml")
    program = await served.start(sys.executable, examples / "12-embedded" / "example.py")
    async with asyncio.timeout(60):
        assert await program.process.wait() == 0, program.said
    assert "Exiting the main app." in program.said
    assert "Hello, kopf-example-" in program.said and "Good bye, kopf-example-" in program.said


async def test_an_operator_begins_and_ends_in_order(examples: Path, served: Served) -> None:
    """13-hooks: it logs in by itself, tries to start three times, and cleans up when it is told to end."""
    operator = await kopf(served, examples / "13-hooks" / "example.py")
    await operator.says("Starting retried...")
    await served.run("kubectl", "create", "-f", "-", stdin=json.dumps(POD))
    await operator.says("Served by the background task.")
    await operator.ends()
    assert "All pod-tasks are requested to stop..." in operator.said and "Traceback" not in operator.said


async def test_an_operator_registers_webhooks_that_are_asked(examples: Path, served: Served, tmp_path: Path) -> None:
    """17-admission, with a certificate of ours: the one that it makes itself takes a library that fails where OpenSSL has
    a version like 3.0.19."""
    pair = certificate("127.0.0.1")
    files = {"certfile": pair.certificate, "keyfile": pair.key, "cafile": authority().certificate}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    ours = tmp_path / "ours.py"
    ours.write_text(WITH_A_CERTIFICATE.format(**{name: str(tmp_path / name) for name in files}))
    await served.run("kubectl", "apply", "-f", examples / "crd.yaml")
    operator = await kopf(served, examples / "17-admission" / "example.py", ours)
    await operator.says("Reconfiguring the mutating webhook auto.kopf.dev.")
    for kind, name in (("mutating", "mutate1"), ("validating", "authhook")):
        await until_there(served, f"{kind}webhookconfiguration/auto.kopf.dev", f"{name}.auto.kopf.dev")

    made = await served.run("kubectl", "apply", "-f", examples / "obj.yaml")
    assert "Warning: Accessing as user-agent:" in made and "SSL peer is not identified." in made
    injected = ("-o", "jsonpath={.spec.injected}")
    assert await served.run("kubectl", "get", NAME, *injected) == "123"
    assert "Meh! I don't like it. Change the field." in await patched(served, "wrong")
    assert "I'm too lazy anyway. Go away!" in await patched(served, "not-allowed")
    assert "patched" in await patched(served, "welcome")


async def until_there(served: Served, configuration: str, webhook: str) -> None:
    names = ("-o", "jsonpath={.webhooks[*].name}")
    async with asyncio.timeout(30):
        while webhook not in await served.run("kubectl", "get", configuration, *names, check=False):
            await asyncio.sleep(0.05)


async def patched(served: Served, field: str) -> str:
    change = json.dumps({"spec": {"field": field}})
    return await served.run("kubectl", "patch", NAME, "--type=merge", "-p", change, check=False)


async def test_everything_at_once(examples: Path, served: Served, tmp_path: Path) -> None:
    """99-all-at-once"""
    sooner = tmp_path / "sooner.py"
    sooner.write_text(SOONER)
    await served.run("kubectl", "apply", "-f", examples / "crd.yaml")
    operator = await kopf(served, examples / "99-all-at-once" / "example.py", sooner)
    await operator.says("Starting the watch-stream for kopfexamples")
    await served.run("kubectl", "apply", "-f", examples / "obj.yaml")
    for handler in ("create_1", "create_2", "create_pod"):
        await operator.says(f"Handler '{handler}' succeeded")
    await operator.says("This pod is special for us.")
    await served.run("kubectl", "patch", NAME, "--type=merge", "-p", '{"spec":{"lst":[1]}}')
    await operator.says("Handling the FIELD = None -> [1]")
    await served.run("kubectl", "delete", NAME, "--timeout=20s")
    await operator.says("Deleted, really deleted")
    await operator.ends()
    assert "Cleaning up in 3s..." in operator.said
