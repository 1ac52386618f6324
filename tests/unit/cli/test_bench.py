"""The figures, without measuring anything."""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kybern.cli.bench import controllers, custom, main
from kybern.cli.bench.figures import CREATE_CUSTOM, GET, LIST_PODS, Figure, table
from kybern.cli.bench.main import CREATIONS, LOADS
from kybern.cli.bench.wrk import Load, read_report, script
from kybern.testing import virtual
from kybern.web.client import Client

REPORT = """Running 5s test @ https://127.0.0.1:6443/x
  1 threads and 32 connections
  106000 requests in 5.00s, 103.78MB read
{more}Requests/sec:  21200.50
Transfer/sec:     20.71MB
"""


def test_more_requests_and_less_time_are_both_better() -> None:
    assert (GET.ratio(7800), LIST_PODS.ratio(0.25)) == (2.0, 2.0)


def test_a_figure_below_what_is_due_is_marked() -> None:
    lines = table([Figure(GET, 7800), Figure(GET, 100), Figure(GET, 0, "refused")])
    assert lines[0].split() == ["CASE", "HERE", "UPSTREAM", "RATIO", "DUE"]
    assert lines[1].split()[-4:] == ["7,800/s", "3,900/s", "2.0x", "2x"]
    assert lines[2].endswith("below what is due") and lines[3].endswith("refused")


def test_what_was_measured_before_a_fault_is_told_and_a_fault_without_words_by_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(args: argparse.Namespace) -> AsyncIterator[Figure]:
        yield Figure(GET, 7800)
        raise TimeoutError

    monkeypatch.setattr(main, "PARTS", {"api": broken})
    assert main.run(argparse.Namespace(against="", only=None)) == 1
    out, err = capsys.readouterr()
    assert "7,800/s" in out and err == "error: TimeoutError\n"


def test_custom_objects_have_two_kilobytes_and_are_held_against_config_maps() -> None:
    config_map, gadget = custom.loads(0)
    assert 2000 < len(gadget.body) < 2500 and len(config_map.body) < len(gadget.body)
    [version] = custom.definition()["spec"]["versions"]
    properties = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert len(properties) == 100 and properties.keys() == json.loads(gadget.body)["spec"].keys()
    assert custom.loads(1)[1].body != gadget.body, "names of another turn are free"
    enough, little = table([Figure(CREATE_CUSTOM, 0.7), Figure(CREATE_CUSTOM, 0.5)])[1:]
    assert enough.split()[-4:] == ["0.70x", "1.00x", "0.7x", "0.6x"] and little.endswith("below what is due")


def test_a_report_of_wrk_is_its_rate() -> None:
    assert read_report(REPORT.format(more="")).rate == 21200.5


def test_refused_requests_do_not_count() -> None:
    report = read_report(REPORT.format(more="  Non-2xx or 3xx responses: 9\n"))
    assert (report.rate, report.failed) == (0.0, "9 of 106000 requests were refused")
    assert read_report("unable to connect\n").failed == "wrk: unable to connect"


def test_every_body_is_json_with_a_number_that_counts_up() -> None:
    for _, load in LOADS + CREATIONS:
        if load.body:
            assert json.loads(load.body) and load.body.count("@N@") == 1
            assert '" .. n .. "' in script(load)


def test_a_script_without_a_body_only_names_the_method() -> None:
    assert script(Load("/x", "DELETE")) == 'wrk.method = "DELETE"\n'


def test_a_control_process_that_still_writes_what_it_has_to_tell_is_not_called_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = iter((0, 700, 2600, 2600, 9999))

    async def send(client: Client, method: str, path: str) -> Any:
        count = next(counts)
        return {"items": [{}] * min(count, 1), "metadata": {"remainingItemCount": count - 1} if count > 1 else {}}

    async def main() -> float:
        monkeypatch.setattr(controllers, "send", send)
        await controllers.at_rest(Client("https://127.0.0.1:1"))
        return asyncio.get_running_loop().time()

    assert virtual.run(main()) == 3 * controllers.REST_SECONDS
    assert next(counts) == 9999


def test_a_control_process_that_never_stops_telling_has_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter(range(10_000))

    async def send(client: Client, method: str, path: str) -> Any:
        return {"items": [{}], "metadata": {"remainingItemCount": next(counts)}}

    monkeypatch.setattr(controllers, "send", send)
    with pytest.raises(TimeoutError):
        virtual.run(controllers.at_rest(Client("https://127.0.0.1:1")))
