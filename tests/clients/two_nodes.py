"""A cluster of two nodes with web servers that answer by TCP and UDP with the name of their node and who asked; and its Services."""

import json
import socket
import urllib.request
from typing import Any

from conftest import Cluster

PROGRAM = """
import http.server, os, signal, socket, threading, time
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # waited for: a handler may start no thread while another starts one
def echo():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 8081))
    while True:
        data, peer = s.recvfrom(2048); s.sendto(os.environ['NODE'].encode() + b' ' + peer[0].encode(), peer)
threading.Thread(target=echo, daemon=True).start()
class H(http.server.BaseHTTPRequestHandler):
    protocol_version, wbufsize = 'HTTP/1.1', -1  # head and body go together
    def do_GET(self):
        text = (os.environ['NODE'] + ' ' + self.client_address[0]).encode()
        self.rfile.read(int(self.headers.get('Content-Length', 0)))
        self.send_response(200); self.send_header('Content-Length', str(len(text)))
        self.send_header('X-Asked', self.command + ' ' + self.path)
        if leaving.is_set(): self.send_header('Connection', 'close')
        self.end_headers()
        if self.command != 'HEAD': self.wfile.write(text)
    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(('', 8080), H)
server.daemon_threads, H.timeout = False, float(os.environ.get('IDLE', '5'))  # what is under way at the end is answered
leaving = threading.Event()
serving = threading.Thread(target=server.serve_forever); serving.start()
signal.sigwait({signal.SIGTERM})
leaving.set(); time.sleep(float(os.environ.get('DRAIN', '3'))); server.shutdown(); server.server_close()
"""


def workload(name: str, kind: str = "DaemonSet", label: str = "", **spec: Any) -> dict[str, Any]:
    """Its pods have the label `app`, the workload's name or another."""
    ports = spec.pop("ports", [])
    labels = {"app": label or name, "workload": name} if label else {"app": name}
    container = {
        "name": "c", "image": "kybern.local/host", "command": ["python3", "-c", PROGRAM], "ports": ports,
        "env": [
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "ROUND", "value": "0"},
        ],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
    }  # fmt: skip
    template = {
        "metadata": {"labels": labels},
        "spec": {"terminationGracePeriodSeconds": 10, "containers": [container], **spec.pop("pod", {})},
    }
    return {
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }  # fmt: skip


def service(name: str, app: str, **spec: Any) -> dict[str, Any]:
    ports = [
        {"name": "tcp", "port": 80, "targetPort": 8080},
        {"name": "udp", "port": 80, "targetPort": 8081, "protocol": "UDP"},
    ]
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": app}, "ports": ports, **spec},
    }  # fmt: skip


def apply(cluster: Cluster, *objects: dict[str, Any]) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def about(cluster: Cluster, name: str, path: str) -> str:
    return cluster.kubectl("get", "service", name, "-o", f"jsonpath={{{path}}}")


def get(url: str, seconds: float = 5) -> str:
    with urllib.request.urlopen(url, timeout=seconds) as answer:
        return str(answer.read().decode())


def datagram(address: str, port: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(b"?", (address, port))
        return client.recv(256).decode()
