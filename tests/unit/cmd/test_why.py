"""What `kybern why` judges by: the profiles that the cluster's own scheduler has, unless it is told of others."""

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from kybern.cmd import config, why


def test_a_pod_is_judged_by_the_configuration_that_the_cluster_was_started_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def tell(args: argparse.Namespace) -> int:
        asked.append(args.scheduler_config)
        return 0

    monkeypatch.setattr(why, "tell", tell)

    def run(*words: str) -> None:
        parser = argparse.ArgumentParser()
        why.add_arguments(parser)
        why.run(parser.parse_args(["pod/a", "--data-dir", str(tmp_path), *words]))

    run()
    config.save(replace(config.new(tmp_path, index=1), scheduler_config="/profiles.yaml"))
    run()
    run("--scheduler-config", "/others.yaml")
    assert asked == ["", "/profiles.yaml", "/others.yaml"]
