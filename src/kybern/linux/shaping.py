"""A link's rate (a token bucket at its root, tc-tbf(8)), over rtnetlink."""

import struct

from kybern.linux.netlink import Netlink
from kybern.linux.netlink_messages import F_CREATE, F_REPLACE, attribute, nested

NEWQDISC = 36
ROOT = 0xFFFFFFFF
HANDLE = 0x10000
TCA_KIND, TCA_OPTIONS = 1, 2
TBF_PARMS, TBF_RATE64, TBF_BURST = 1, 4, 6
ETHERNET = 1
BURST_SECONDS = 0.05
BURST_BYTES_MIN = 16 * 1024
QUEUE_SECONDS = 0.05  # what waits longer is dropped
RATE32_MAX = 0xFFFFFFFF


def limit_rate(links: Netlink, index: int, bits_per_second: int) -> None:
    """Of what leaves by the link."""
    rate = max(bits_per_second // 8, 1)
    burst = min(max(int(rate * BURST_SECONDS), BURST_BYTES_MIN), RATE32_MAX)
    queue = min(int(rate * QUEUE_SECONDS) + burst, RATE32_MAX)
    shown = min(rate, RATE32_MAX)
    spec = struct.pack("=BBHhHI", 0, ETHERNET, 0, 0, 0, shown)
    parms = spec + bytes(12) + struct.pack("=III", queue, 0, 0)
    options = [attribute(TBF_PARMS, parms), attribute(TBF_BURST, burst)]
    if rate > RATE32_MAX:
        options.append(attribute(TBF_RATE64, struct.pack("=Q", rate)))
    head = struct.pack("=BBHiIII", 0, 0, 0, index, HANDLE, ROOT, 0)
    links.request(NEWQDISC, F_CREATE | F_REPLACE, head + attribute(TCA_KIND, "tbf") + nested(TCA_OPTIONS, *options))
