"""Which frames a link takes in: a program of classic BPF that sees each before anything else does (tc-bpf(8)), over rtnetlink.

The program gives PASS or DROP. A frame that ends before what the program loads passes, so it asks for the length first. It
goes when its link goes, and no firewall that is loaded again takes it away.
"""

import errno
import socket
import struct

from kybern.linux import bpf
from kybern.linux.netlink import Netlink
from kybern.linux.netlink_messages import F_CREATE, F_EXCL, F_REPLACE, attribute, nested

PASS, DROP = 0, 2  # TC_ACT_OK, TC_ACT_SHOT

NEWQDISC, NEWTFILTER = 36, 44
CLSACT, CLSACT_HANDLE, INGRESS = 0xFFFFFFF1, 0xFFFF0000, 0xFFFFFFF2
PRIORITY, HANDLE, ETH_P_ALL = 1, 1, 0x0003
TCA_KIND, TCA_OPTIONS = 1, 2
BPF_OPS_LEN, BPF_OPS, BPF_FLAGS = 4, 5, 8
ACT_DIRECT = 1  # what the program gives is what is done


def filter_frames(links: Netlink, index: int, program: list[bpf.Instruction]) -> None:
    """In place of the program that the link may have had. OSError where the kernel has no such filters."""
    try:
        links.request(
            NEWQDISC, F_CREATE | F_EXCL, head(index, CLSACT_HANDLE, CLSACT, 0) + attribute(TCA_KIND, "clsact")
        )
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
    options = nested(
        TCA_OPTIONS,
        attribute(BPF_OPS_LEN, struct.pack("=H", len(program))),
        attribute(BPF_OPS, bpf.assemble(program)),
        attribute(BPF_FLAGS, ACT_DIRECT),
    )
    where = head(index, HANDLE, INGRESS, PRIORITY << 16 | socket.htons(ETH_P_ALL))
    links.request(NEWTFILTER, F_CREATE | F_REPLACE, where + attribute(TCA_KIND, "bpf") + options)


def head(index: int, handle: int, parent: int, information: int) -> bytes:
    return struct.pack("=BBHiIII", 0, 0, 0, index, handle, parent, information)
