"""What a node of this machine may use, and what it therefore says that it has."""

from collections.abc import Mapping

from kybern.api.quantity import canonical, milli, value
from kybern.cmd.place import Place
from kybern.kubelet.machine import measure
from kybern.linux.cgroups import Limits

PERIOD_MICROSECONDS = 100_000
PODS_MAX = 110
UNLIMITED = -1


def limits_of(place: Place) -> Limits:
    """Said also where there is none, since there may have been one before."""
    return Limits(
        cpu_period=PERIOD_MICROSECONDS,
        cpu_quota=milli(place.cpus) * PERIOD_MICROSECONDS // 1000 if place.cpus else UNLIMITED,
        memory_limit_bytes=value(place.memory) if place.memory else UNLIMITED,
    )


def capacity(place: Place) -> Mapping[str, str] | None:
    """None where all of the machine's is the node's."""
    given = {"cpu": place.cpus, "memory": place.memory}
    limited = {name: canonical(amount) for name, amount in given.items() if amount}
    return {**measure(str(place.data), PODS_MAX), **limited} if limited else None
