"""From single checks to a decision: so many successes or failures in a row, as the probe's thresholds say."""

from dataclasses import dataclass

from kybern.api.core_v1 import Probe
from kybern.kubelet.probes.checks import Outcome


@dataclass(frozen=True, slots=True)
class Run:
    """How often the same came out in a row, and what was last decided."""

    good: bool | None = None
    length: int = 0
    decided: bool | None = None


def count(run: Run, outcome: Outcome, probe: Probe) -> Run:
    """An unknown outcome says nothing at all."""
    if outcome is Outcome.UNKNOWN:
        return run
    good = outcome in (Outcome.SUCCESS, Outcome.WARNING)
    length = run.length + 1 if run.good is good else 1
    threshold = (probe.success_threshold or 1) if good else (probe.failure_threshold or 3)
    return Run(good, length, good if length >= threshold else run.decided)
