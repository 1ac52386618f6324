"""SCTP by hand, as programs for pods: an association is asked for (INIT) and answered (INIT ACK).

For kernels that have no SCTP of their own: they track and translate it all the same, and look at its ports and checksums.
"""

PACKETS = """
import os, random, socket, struct, sys
INIT, INIT_ACK, COOKIE = 1, 2, 7
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 132)
def crc32c(data):
    left = 0xffffffff
    for byte in data:
        left ^= byte
        for _ in range(8): left = left >> 1 ^ (0x82f63b78 if left & 1 else 0)
    return left ^ 0xffffffff
def packet(source, target, tag, kind, own, cookie=b''):
    body = struct.pack('!IIHHI', own, 65536, 1, 1, 1)
    if cookie: body += struct.pack('!HH', COOKIE, 4 + len(cookie)) + cookie
    chunk = struct.pack('!BBH', kind, 0, 4 + len(body)) + body + bytes(-len(body) % 4)
    head = struct.pack('!HHI', source, target, tag)
    return head + struct.pack('<I', crc32c(head + bytes(4) + chunk)) + chunk
def read(data):
    at = (data[0] & 15) * 4
    source, target, tag, _, kind = struct.unpack_from('!HHIIB', data, at)
    return source, target, tag, kind, struct.unpack_from('!I', data, at + 16)[0], data[at + 32:]
"""

ANSWERING = (
    PACKETS
    + """
while True:
    data, (who, _) = raw.recvfrom(2048)
    source, target, tag, kind, own, _ = read(data)
    if (kind, target) == (INIT, 9090):
        raw.sendto(packet(target, source, own, INIT_ACK, 77, os.environ['NODE'].encode()), (who, 0))
"""
)

ASKING = (
    PACKETS
    + """
def ask(host, port, seconds=2):
    own, tag = random.randrange(30000, 60000), random.randrange(1, 2 ** 32)
    raw.settimeout(seconds)
    raw.sendto(packet(own, port, 0, INIT, tag), (host, 0))
    try:
        while True:
            data, (who, _) = raw.recvfrom(2048)
            source, target, to, kind, _, cookie = read(data)
            if (who, source, target, to, kind) == (host, port, own, tag, INIT_ACK):
                return cookie[4:].rstrip(bytes(1)).decode()
    except TimeoutError:
        return 'nobody'
"""
)
