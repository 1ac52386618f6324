"""The control loop, once: a keyed queue, workers, ownership, bursts, and a View never older than the loop's own writes."""

from kybern.reconcile.bursts import at_once, slow_start
from kybern.reconcile.controller import After, Context, Controller, Key, Periodic, Running
from kybern.reconcile.ownership import claim, controller_ref, controls
from kybern.reconcile.run import run_controllers

__all__ = [
    "After",
    "Context",
    "Controller",
    "Key",
    "Periodic",
    "Running",
    "at_once",
    "claim",
    "controller_ref",
    "controls",
    "run_controllers",
    "slow_start",
]
