"""`kybern bench`: the load of the design's budgets against an API server, and the figures beside upstream's."""

from kybern.cli.bench.main import add_arguments, run

__all__ = ["add_arguments", "run"]
