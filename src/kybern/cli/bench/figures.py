"""What is measured, what upstream reached, and what is due: a table of values, and the same as text.

Upstream is kube-apiserver with etcd, built from source, the better of 1.20 and 1.36 in each row, on a machine with two
cores that also made the load. Ratios hold across machines, absolute figures do not. For simulated nodes the figures beside
ours are KWOK's own gates; for a great many objects, for the controllers alone and for a node, what is due; for custom
objects our own ConfigMaps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kybern.cli.kubectl.columns import lines_of


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    unit: str
    """Of `/s`, `MB/s` and `x` more is better; of `s`, `ms`, `MB` and `%` less is."""
    upstream: float
    due: float
    """How many times better than upstream."""

    def ratio(self, figure: float) -> float:
        """Above 1 is better than upstream."""
        return figure / self.upstream if self.unit.endswith(("/s", "x")) else self.upstream / figure


START = Case("start to /readyz", "s", 3.3, 3.3)
GET = Case("GET one ConfigMap", "/s", 3900, 2)
LIST_CONFIGMAPS = Case("LIST 100 ConfigMaps", "/s", 960, 3)
LIST_PODS_CHUNK = Case("LIST 500 pods, limit=500", "/s", 45, 5)
LIST_PODS = Case("LIST all pods, one client", "s", 0.5, 3)
PATCH = Case("PATCH ConfigMap (strategic)", "/s", 1400, 1)
CREATE_CONFIGMAP = Case("CREATE ConfigMap", "/s", 1350, 1)
CREATE_CUSTOM = Case("CREATE custom object of 2 KB, of the ConfigMaps' rate", "x", 1, 0.6)
CREATE_POD = Case("CREATE Pod", "/s", 790, 1)
WATCH_LAG = Case("watch lag p99, 100 watchers x 100 writes/s", "ms", 37, 1)
WATCH_LAG_OF_MANY = Case("watch lag p99, 1,000 watchers x 20 writes/s", "ms", 49, 1)
SLOWEST_PAGE = Case("50,000 ConfigMaps by pages of 500: slowest page", "ms", 250, 1)
LONGEST_WAIT = Case("meanwhile GET of one by another: longest wait", "ms", 250, 1)
RESTART = Case("server killed with all of them, to /readyz", "s", 5, 1)
BOUND = Case("3,000 pods onto 1,000 nodes, create to bound", "/s", 196, 3)
DEPLOYMENT = Case("Deployment of 1,000 on 200 nodes, to all bound", "s", 7.2, 2)
NODES_READY = Case("5,000 simulated nodes Ready", "s", 60, 3)
PODS_RUNNING = Case("10,000 pods Running on them, from create", "s", 60, 3)
CROWD_MEMORY = Case("memory of the control plane: 5,000 nodes, 50,000 pods", "MB", 1500, 1)
SCALED_UP = Case("Deployment 0 to 1,000 replicas, Ready on simulated nodes", "s", 5, 1)
ROLLED_OUT = Case("500 Deployments of 3 created at once, all Ready", "s", 20, 1)
EMPTIED = Case("100 namespaces of 20 objects each deleted", "s", 20, 1)
IDLE_CONTROL = Case("CPU of the idle control process, of a core", "%", 0.5, 1)
IDLE_MEMORY = Case("memory, idle: API server and store", "MB", 317, 3)
LOADED_MEMORY = Case("memory with all pods: API server and store", "MB", 1600, 4)
POD_START = Case("pod start, bound to Running, 5 pods/s: p50", "ms", 100, 1)
POD_START_LATE = Case("pod start, bound to Running, 5 pods/s: p99", "ms", 300, 1)
EXEC = Case("exec of one command, p50", "ms", 30, 1)
LOG = Case("log of one container, nothing lost", "MB/s", 200, 1)
PULL = Case("pull of a 500 MB image, of the time of sha256sum and tar", "%", 150, 1)
IDLE_AGENT = Case("CPU of the node's agent, 105 idle pods, of a core", "%", 1, 1)
WARDEN = Case("memory of the warden, 105 containers", "MB", 40, 1)
WARDEN_EACH = Case("memory of the warden, for each container", "MB", 1, 1)
PROGRAMMED = Case("1,000 Services x 10 endpoints, from news to kernel", "s", 1, 1)
CHANGE_SEEN = Case("one endpoint changed among them, PUT to kernel: p99", "ms", 100, 1)
LOST_BETWEEN_PODS = Case("throughput lost against a veth pair: pod to pod", "%", 10, 1)
LOST_THROUGH_SERVICE = Case("throughput lost against a veth pair: by a Service", "%", 15, 1)
POD_NETWORK = Case("set-up of a pod's network, mean", "ms", 5, 1)
DNS = Case("DNS answers, for each second of one core", "/s", 20_000, 1)


@dataclass(frozen=True, slots=True)
class Figure:
    case: Case
    value: float
    failed: str = ""
    """Why the value does not count."""


def table(figures: Sequence[Figure]) -> list[str]:
    header = ["CASE", "HERE", "UPSTREAM", "RATIO", "DUE", ""]
    return lines_of(header, [row(figure) for figure in figures])


def row(figure: Figure) -> list[str]:
    case = figure.case
    if figure.failed:
        return [case.name, "-", amount(case.upstream, case.unit), "-", f"{case.due:g}x", figure.failed]
    ratio = case.ratio(figure.value)
    verdict = "" if ratio >= case.due else "below what is due"
    return [
        case.name,
        amount(figure.value, case.unit),
        amount(case.upstream, case.unit),
        f"{ratio:.1f}x",
        f"{case.due:g}x",
        verdict,
    ]


def amount(value: float, unit: str) -> str:
    if unit in ("s", "%"):
        return f"{value:.2f} {unit}"
    if unit == "x":
        return f"{value:.2f}x"
    return f"{value:,.0f}{unit}" if unit == "/s" else f"{value:,.1f} {unit}"
