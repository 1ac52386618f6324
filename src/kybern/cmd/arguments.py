"""What the commands' arguments may be: each function takes what was typed and gives the value, or says what is wrong with it.

argparse prints an ArgumentTypeError behind the command's usage. What is not needed for every command is imported where it
is used, since `kybern` starts for each of them.
"""

import argparse
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path


def add_data_dir(parser: argparse.ArgumentParser, actions: Iterable[argparse.ArgumentParser] = ()) -> None:
    """`actions`: the parsers of its actions, so that the option may also stand behind those."""
    from kybern.cmd.config import default_data_dir

    parser.add_argument(
        "--data-dir", type=directory, default=default_data_dir(),
        help="where the cluster's state lives; each directory is a cluster of its own (default %(default)s)",
    )  # fmt: skip
    for action in actions:
        action.add_argument("--data-dir", type=directory, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def directory(text: str) -> Path:
    return Path(text).expanduser().absolute()


def port_number(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 0 < number < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port number (1-65535)")
    return number


def address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address") from None


def registry_port(text: str) -> int:
    return 0 if text == "0" else port_number(text)


def node_count(text: str) -> int:
    from kybern.testing.lives import NODES_MAX

    number = int(text) if text.isdecimal() else -1
    if not 0 <= number <= NODES_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of nodes (0-{NODES_MAX})")
    return number


def machine_node_count(text: str) -> int:
    from kybern.cmd.config import NODES_MAX

    number = int(text) if text.isdecimal() else 0
    if not 0 < number <= NODES_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of nodes (1-{NODES_MAX})")
    return number


def absolute(text: str) -> str:
    """It is read again by later starts, from wherever those are made; an empty one means no file any more."""
    return str(Path(text).expanduser().absolute()) if text else ""


def runtime_target(text: str) -> str:
    """`containerd:///run/containerd/containerd.sock`, or `unix://` of any CRI v1 runtime; gRPC knows the latter only."""
    scheme, separator, path = text.partition("://")
    if text == "native":
        return ""
    if scheme not in ("containerd", "crio", "unix") or not separator or not path.startswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r} is no runtime: say native, containerd:///PATH or unix:///PATH")
    return f"unix://{path}"


def cpu_amount(text: str) -> str:
    return amount(text, least_milli=10, what="CPUs", example="`2` or `500m`")


def memory_amount(text: str) -> str:
    return amount(text, least_milli=(64 << 20) * 1000, what="memory", example="`2Gi`, at least 64Mi")


def amount(text: str, *, least_milli: int, what: str, example: str) -> str:
    from kybern.api.quantity import canonical, milli

    try:
        if milli(text) >= least_milli:
            return str(canonical(text))
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no amount of {what}, say {example}")


def node_name(text: str) -> str:
    from kybern.api.names import dns1123_subdomain

    for wrong in dns1123_subdomain(text):
        raise argparse.ArgumentTypeError(wrong)
    return text
