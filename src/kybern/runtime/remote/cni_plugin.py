"""The CNI plugin that a runtime runs for each pod: it asks the node's agent, on the socket that its configuration names,
and prints what that says. Nothing but the standard library: it starts in a few milliseconds.

It also stands in for the plugin `loopback`, which containerd before 2.0 runs besides: there is nothing to do then, since
the agent raises a pod's loopback with its link.
"""

import json
import os
import socket
import sys

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
ANSWER_SECONDS = 60.0
TRY_AGAIN_LATER = 11
ASKED = ("COMMAND", "CONTAINERID", "NETNS", "IFNAME", "ARGS")


def ask(path: str, question: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
        agent.settimeout(ANSWER_SECONDS)
        os.chdir(os.path.dirname(path))  # a socket's path has 107 bytes at most
        agent.connect(os.path.basename(path))
        agent.sendall(question)
        agent.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: agent.recv(65536), b""))


def main() -> int:
    given = json.load(sys.stdin)
    version = given.get("cniVersion", VERSIONS[0])
    question = {name.lower(): os.environ.get(f"CNI_{name}", "") for name in ASKED}
    if question["command"] == "VERSION":
        print(json.dumps({"cniVersion": version, "supportedVersions": VERSIONS}))
        return 0
    try:
        answer = {} if "socket" not in given else json.loads(ask(given["socket"], json.dumps(question).encode()))
    except (OSError, ValueError) as error:
        answer = {"code": TRY_AGAIN_LATER, "msg": "the node's agent does not answer", "details": str(error)}
    print(json.dumps({"cniVersion": version, **answer}))
    return 1 if "code" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
