"""Everything that is passed through, by address: for `ApiServer(connections=...)`."""

import ssl

from kybern.aio.ids import Ids
from kybern.apiserver.connect import Connections
from kybern.apiserver.connections.kubelets import Kubelets
from kybern.apiserver.connections.pod_log import PodLog
from kybern.apiserver.connections.pod_streams import PodStreams
from kybern.apiserver.connections.proxy import Proxy
from kybern.apiserver.request import Objects


def connections(objects: Objects, tls: ssl.SSLContext, ids: Ids) -> Connections:
    """`tls` is what the API server shows to kubelets, and the authority that theirs must be of."""
    kubelets = Kubelets(objects, tls)
    streams = PodStreams(objects, kubelets)
    proxy = Proxy(objects, kubelets, ids)
    return {
        "pods/log": PodLog(objects, kubelets),
        "pods/exec": streams.exec,
        "pods/attach": streams.attach,
        "pods/portforward": streams.port_forward,
        "pods/proxy": proxy.pod,
        "services/proxy": proxy.service,
        "nodes/proxy": proxy.node,
    }
