"""`kybern up`: from nothing to a cluster that can be used, or to the one that already runs.

Preflight, certificates, the supervisor in the background, then wait until the API answers, the node is Ready and names
resolve. Only then is the context written into the kubeconfig and the command over.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from kybern.cmd import config, running, server_options
from kybern.cmd.arguments import (
    absolute,
    add_data_dir,
    address,
    cpu_amount,
    machine_node_count,
    memory_amount,
    node_count,
    node_name,
    port_number,
    registry_port,
    runtime_target,
)
from kybern.cmd.config import Cluster
from kybern.cmd.launch import start, wait_and_tell
from kybern.cmd.preflight import Machine, Prevents, Problem, explain, look, needs_root, port_error, problems
from kybern.cmd.progress import Progress
from kybern.cmd.routes import routed_networks
from kybern.cmd.turns import Turn

KEPT = (
    "port", "bind_address", "advertise_address", "node_name", "node_cpus", "node_memory", "ip_family", "pod_network",
    "cni_conf_dir", "gateway_api", "registry_port", "runtime", "service_proxy", "simulated_nodes", "simulated_config",
    "scheduler_config",
)  # fmt: skip
"""Options that are the cluster's settings, by the same names: one that is not given stays as it was."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data_dir(parser)
    parser.add_argument("--port", type=port_number, help=f"of the API server (default {config.API_PORT})")
    parser.add_argument("--bind-address", help="where the API server listens besides the cluster (default 127.0.0.1)")
    parser.add_argument(
        "--advertise-address", type=address, metavar="ADDRESS",
        help="this machine's, by which other machines reach the API server and the node (`kybern join`)",
    )  # fmt: skip
    parser.add_argument("--node-name", type=node_name, help="default: this machine's name")
    parser.add_argument(
        "--nodes", type=machine_node_count, help="how many; each further one in a network of its own (default 1)"
    )
    parser.add_argument(
        "--node-cpus", type=cpu_amount, help="what a node may use, `2` or `500m` (default: all there is)"
    )
    parser.add_argument("--node-memory", type=memory_amount, help="what a node may use, `2Gi` (default: all there is)")
    parser.add_argument(
        "--ip-family", choices=("ipv4", "ipv6", "dual"),
        help="of pods, Services and nodes; chosen when the cluster is made (default ipv4)",
    )  # fmt: skip
    parser.add_argument("--pod-network", choices=("vxlan", "routes", "cni"), help="between nodes (default vxlan)")
    parser.add_argument("--cni-conf-dir", type=absolute, help="of --pod-network cni (default /etc/cni/net.d)")
    parser.add_argument(
        "--gateway-api", action=argparse.BooleanOptionalAction, default=None,
        help="Gateways, HTTPRoutes and GRPCRoutes, served by the proxy that serves Ingresses (class kybern)",
    )  # fmt: skip
    parser.add_argument(
        "--registry-port", type=registry_port, metavar="PORT",
        help="an image registry on localhost that docker, podman and skopeo can push to (0: none)",
    )  # fmt: skip
    parser.add_argument(
        "--runtime", type=runtime_target, metavar="URL",
        help="who runs containers: native (the default), containerd:///PATH, or unix:///PATH of any CRI v1 runtime",
    )  # fmt: skip
    parser.add_argument(
        "--service-proxy", choices=("nftables", "none"), help="none: Services are somebody else's to answer"
    )
    parser.add_argument(
        "--simulated", action=argparse.BooleanOptionalAction, default=None,
        help="simulated nodes, no containers, no privileges",
    )  # fmt: skip
    parser.add_argument(
        "--simulated-nodes",
        type=node_count,
        metavar="N",
        help="so many simulated nodes beside this machine's (0: none)",
    )
    parser.add_argument(
        "--simulated-config", type=absolute, metavar="FILE", help="what simulated nodes and their pods are like"
    )
    parser.add_argument(
        "--scheduler-config",
        type=absolute,
        metavar="FILE",
        help="a KubeSchedulerConfiguration, as upstream's scheduler takes",
    )
    parser.add_argument(
        "--extension",
        type=absolute,
        action="append",
        metavar="FILE",
        help="rules in Python, loaded again when it changes; several times for several (an empty one: none any more)",
    )
    parser.add_argument("--foreground", action="store_true", help="stay here until Ctrl-C, then stop the cluster")
    parser.add_argument("--verbose", action="store_true", help="write more into the logs, and them to the terminal")
    server_options.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    with Turn(config.run_root()) as turn:
        return up(args, Progress(sys.stderr), turn)


def up(args: argparse.Namespace, progress: Progress, turn: Turn) -> int:
    """Gives the turn back as soon as there is a supervisor for others to find."""
    known = config.saved(args.data_dir)
    if known is not None and running.status(known.control_socket) is not None:
        turn.close()
        return already_up(known, args, progress)
    try:
        cluster = chosen(args)
        check_files(cluster)
    except ValueError as error:
        return progress.failed(str(error))
    from kybern.cmd.option_check import wrong_with

    if wrong := wrong_with(cluster):
        return progress.failed(wrong)
    machine = look(cluster.data, cluster.bind_address, cluster.port)
    cluster = in_own_namespaces(cluster, machine)
    found = [*rootless_problems(cluster, machine), *problems(machine), *address_problems(cluster)]
    found += [*registry_problems(cluster), *runtime_problems(cluster)]
    if fatal := [problem for problem in found if problem.prevents is Prevents.CLUSTER]:
        return explain(fatal, progress)
    if not cluster.simulated:
        explain(found, progress)
        if any(problem.prevents is Prevents.CONTAINERS for problem in found):
            progress.note("containers cannot run here: the cluster starts with a simulated node")
            cluster = replace(cluster, simulated=True, rootless=False)
    return start(cluster, progress, turn, foreground=args.foreground)


def in_own_namespaces(cluster: Cluster, machine: Machine) -> Cluster:
    """An ordinary user's, unless it is simulated and needs none."""
    user = machine.unprivileged
    if user is None or cluster.simulated:
        return replace(cluster, rootless=False, uplink="")
    return replace(cluster, rootless=True, uplink=user.uplink if user.tun else "")


def rootless_problems(cluster: Cluster, machine: Machine) -> Iterator[Problem]:
    """Other machines reach no node that is in a network of a user's own, and an engine of the machine no files there."""
    if cluster.advertise_address:
        yield from needs_root(machine, "up --advertise-address")
    if cluster.runtime:
        yield from needs_root(machine, "up --runtime")


def chosen(args: argparse.Namespace) -> Cluster:
    used = config.indices_in_use(config.run_root()) | config.overlapping(routed_networks())
    known = config.saved(args.data_dir)
    asked = {name: getattr(args, name) for name in KEPT}
    if args.simulated_nodes == 0 and args.simulated_config is None:
        asked["simulated_config"] = ""  # none, then; also not those of a file that was given before
    if known is None and args.node_name is None:
        asked["node_name"] = os.uname().nodename.lower()
    cluster = config.choose(
        args.data_dir,
        used,
        **asked,
        verbose=args.verbose,
        always_simulated=args.simulated,
        options=server_options.chosen(args, known.options if known else server_options.NEW_CLUSTER),
        extensions=extensions(args),
    )
    cluster = replace(cluster, simulated=cluster.always_simulated)
    refuse_family(cluster, known)
    cluster = with_nodes(cluster, args.nodes) if args.nodes else cluster
    if cluster.runtime and cluster.further_nodes:
        raise ValueError("a CRI runtime runs the containers of one node: further ones need --runtime native")
    return cluster


def extensions(args: argparse.Namespace) -> tuple[str, ...] | None:
    return None if args.extension is None else tuple(filter(None, args.extension))


def refuse_family(cluster: Cluster, known: Cluster | None) -> None:
    """ValueError where the cluster cannot be of the families that are asked for."""
    if known is not None and known.ip_family != cluster.ip_family:
        raise ValueError(
            f"the cluster was made with --ip-family {known.ip_family}, and its Services keep their addresses: kybern reset"
        )
    if cluster.ip_family != "ipv4" and cluster.simulated:
        raise ValueError("simulated nodes are of IPv4 only")
    if cluster.ip_family != "ipv4" and not Path("/proc/sys/net/ipv6").exists():
        raise ValueError("the kernel of this machine has no IPv6")
    if advertised := cluster.advertise_address:
        config.refuse_strange_family(cluster, advertised)


def check_files(cluster: Cluster) -> None:
    """ValueError where one cannot be used: better now than from a process that ends again and again."""
    if cluster.scheduler_config:
        from kybern.scheduler.configuration import read_configuration

        read_configuration(cluster.scheduler_config)
    if cluster.extensions:
        from kybern.extensions.files import Broken, Extensions

        try:
            Extensions(map(Path, cluster.extensions))
        except Broken as error:
            raise ValueError(f"an extension is broken: {error}") from None
    if cluster.simulated_config:
        from kybern.testing.lives import read_settings

        settings = read_settings(cluster.simulated_config, cluster.simulated_nodes)
        if not any(group.count for group in settings.nodes):
            raise ValueError(f"{cluster.simulated_config} names no nodes: add them to it, or --simulated-nodes N")


def with_nodes(cluster: Cluster, count: int) -> Cluster:
    """ValueError where there are more already: which of them to lose is not ours to guess."""
    from kybern.cmd.nodes import with_another

    if count < len(cluster.further_nodes) + 1:
        raise ValueError(f"there are {len(cluster.further_nodes) + 1} nodes; fewer by: kybern node remove NAME")
    while len(cluster.further_nodes) + 1 < count:
        cluster = with_another(cluster, None, cluster.node_cpus, cluster.node_memory)
    return cluster


def address_problems(cluster: Cluster) -> Iterator[Problem]:
    """A cluster keeps its addresses, so somebody else may have taken them since."""
    ours = (cluster.bridge, cluster.node_bridge, cluster.vxlan)
    if not (cluster.simulated or cluster.joined or cluster.rootless) and cluster.index in config.overlapping(
        routed_networks(ours)
    ):
        used = " or ".join(map(str, cluster.ranges))
        yield Problem(
            f"this machine has routes into {used}, which the cluster in {cluster.data} uses",
            f"stop what uses them, or start afresh: kybern reset --data-dir {cluster.data}",
        )


def registry_problems(cluster: Cluster) -> Iterator[Problem]:
    if cluster.registry_port and (error := port_error("127.0.0.1", cluster.registry_port)):
        yield Problem(
            f"127.0.0.1:{cluster.registry_port} cannot be listened on for the registry: {error}",
            f"kybern up --registry-port {cluster.registry_port + 1}",
        )


def runtime_problems(cluster: Cluster) -> list[Problem]:
    if not cluster.runtime or cluster.simulated:
        return []
    from kybern.cmd.runtime_check import problems_of

    return asyncio.run(problems_of(cluster))


def as_given(flag: str, value: object) -> str:
    if isinstance(value, bool):
        return f"with {flag if value else flag.replace('--', '--no-', 1)}"
    return f"without {flag}" if value == "" else f"with {flag} {value}"


def already_up(cluster: Cluster, args: argparse.Namespace, progress: Progress) -> int:
    if args.nodes and args.nodes != len(cluster.further_nodes) + 1:
        return progress.failed(
            f"the cluster is up with {len(cluster.further_nodes) + 1} nodes", "kybern node add, kybern node remove"
        )
    for name in (*KEPT, "simulated"):
        wanted, has = getattr(args, name), getattr(cluster, name)
        if wanted is not None and wanted != has:
            given = as_given(f"--{name.replace('_', '-')}", has)
            return progress.failed(f"the cluster is up {given}", "kybern down, then kybern up with the new one")
    if extensions(args) not in (None, cluster.extensions):
        return progress.failed(
            "the cluster is up with other extensions", "kybern down, then kybern up with the new ones"
        )
    if server_options.chosen(args, cluster.options) != cluster.options:
        return progress.failed("the cluster is up with other options of the API server", "kybern down, then kybern up")
    progress.note(f"{cluster.name} is up already")
    return wait_and_tell(cluster, progress)
