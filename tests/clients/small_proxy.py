"""A service proxy that knows nothing of kybern: what the official client lists of Services and EndpointSlices, as nftables rules."""

import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from kubernetes import client, config

TABLE = """
table ip small-proxy
delete table ip small-proxy
table ip small-proxy {{
    chain services {{
        {}
    }}
    chain prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
    chain output {{ type nat hook output priority -100; jump services; }}
    chain postrouting {{ type nat hook postrouting priority srcnat; ct status dnat masquerade; }}
}}
"""


def rules(services: Iterable[Any], slices: Iterable[Any]) -> Iterator[str]:
    targets: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for piece in slices:
        name = piece.metadata.labels.get("kubernetes.io/service-name", "")
        for port in piece.ports or ():
            of_port = targets[piece.metadata.namespace, name, port.name or ""]
            for endpoint in piece.endpoints or ():
                if endpoint.conditions.ready is not False:
                    of_port += [f"{address} . {port.port}" for address in endpoint.addresses]
    for service in services:
        meta, spec = service.metadata, service.spec
        for port in (spec.cluster_ip != "None" and spec.ports) or ():
            found = sorted(targets[meta.namespace, meta.name, port.name or ""])
            if not found:
                continue
            chosen = "jhash ip saddr" if spec.session_affinity == "ClientIP" else "numgen random"
            choices = ", ".join(f"{number} : {target}" for number, target in enumerate(found))
            places = [f"ip daddr {spec.cluster_ip} {port.protocol.lower()} dport {port.port}"]
            if port.node_port:
                places.append(f"fib daddr type local {port.protocol.lower()} dport {port.node_port}")
            for place in places:
                yield f"{place} dnat ip to {chosen} mod {len(found)} map {{ {choices} }}"


def main() -> None:
    config.load_kube_config()
    services, slices, written = client.CoreV1Api(), client.DiscoveryV1Api(), ""
    while True:
        found = rules(
            services.list_service_for_all_namespaces().items, slices.list_endpoint_slice_for_all_namespaces().items
        )
        wanted = TABLE.format("\n        ".join(found))
        if wanted != written:
            subprocess.run(["nft", "-f", "-"], input=wanted, text=True, check=True)
            written = wanted
        time.sleep(0.2)


if __name__ == "__main__":
    main()
