"""`kybern cri`: our container runtime by itself, served as CRI v1 for other people's kubelets and tools.

    kybern cri --socket /run/kybern/cri.sock
    crictl --runtime-endpoint unix:///run/kybern/cri.sock pods

Two processes: the warden, and the service with its gateway. It stays until Ctrl-C or TERM; then its containers have ended
and nothing of it is left but its images. Pods get their network by the CNI plugins that are configured on the machine.
"""

import argparse
import asyncio
import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

from kybern.cmd import config, logs, running
from kybern.cmd.arguments import absolute
from kybern.cmd.preflight import container_problems, explain, look, needs_root
from kybern.cmd.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Where it is, and what it keeps."""

    socket: Path
    data: Path
    run: Path
    cni_conf_dir: Path

    @property
    def keeper_socket(self) -> Path:
        return self.run / "keeper.sock"

    @property
    def control_socket(self) -> Path:
        return self.run / "supervisor.sock"

    @property
    def logs(self) -> Path:
        return self.data / "logs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--socket", type=absolute, required=True, help="where CRI is served; only root may open it")
    parser.add_argument(
        "--data-dir", type=absolute, default="/var/lib/kybern-cri", help="images and containers (default %(default)s)"
    )
    parser.add_argument(
        "--cni-conf-dir", type=absolute, default="/etc/cni/net.d", help="of the pod network (default %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    progress = Progress(sys.stderr)
    data = Path(args.data_dir)
    machine = look(data, "127.0.0.1", 0)
    problems = list(needs_root(machine, "cri")) or list(container_problems(machine))
    if problems:
        return explain(problems, progress)
    service = Service(
        socket=Path(args.socket),
        data=data,
        run=config.run_root() / f"cri-{config.cluster_id(data)}",
        cni_conf_dir=Path(args.cni_conf_dir),
    )
    if running.status(service.control_socket) is not None:
        return progress.failed(f"a runtime serves {service.data} already", "kybern cri --data-dir DIRECTORY")
    for directory in (service.data, service.run, service.logs):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    service.socket.parent.mkdir(parents=True, exist_ok=True)
    supervise(service)
    return 0


def supervise(service: Service) -> None:
    from kybern.cmd.supervisor import Program, Supervisor
    from kybern.runtime.cleanup import cleanup
    from kybern.runtime.warden import launch
    from kybern.runtime.warden.fdstore import Keeper

    logs.to_file(service.logs, "supervisor", verbose=False)
    programs = [
        Program(
            "warden", launch.__name__, partial(warden, service), make_keeper=partial(Keeper, str(service.keeper_socket))
        ),
        Program("cri", "kybern.cmd.cri_service", partial(root, service)),
    ]
    cleanup(service.data, service.run)  # after a crash or a reboot: nobody's any more
    Supervisor(programs, service.control_socket, service.logs).run()
    asyncio.run(give_back(service))
    cleanup(service.data, service.run)
    service.socket.unlink(missing_ok=True)


async def give_back(service: Service) -> None:
    """The addresses that plugins keep elsewhere."""
    from kybern.cmd.cri_service import network_of

    await network_of(service).collect(())


def warden(service: Service, module: ModuleType) -> None:
    module.become_warden(str(service.run / "warden.sock"), str(service.data / "containers"), str(service.keeper_socket))


def root(service: Service, module: ModuleType) -> None:
    logs.to_file(service.logs, "cri", verbose=False)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    module.main(service)
