"""`kybern token`: what other machines join this cluster with, as kubeadm's tokens: Secrets in kube-system, until they expire.

The first one also opens the door: strangers may read `cluster-info`, who shows a token may ask for a node's certificate.
A cluster that nobody is to join has none of this.
"""

import argparse
import asyncio
import base64
import random
import string
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from kybern.aio.clock import rfc3339
from kybern.api import yaml_text
from kybern.api.core_v1 import ConfigMap, Secret
from kybern.api.errors import AlreadyExists, ApiError
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.rbac_v1 import ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject
from kybern.client import Client
from kybern.cmd import config
from kybern.cmd.arguments import add_data_dir
from kybern.cmd.config import Cluster, in_url
from kybern.cmd.credentials import ADMIN
from kybern.cmd.joining import SETTINGS, SETTINGS_KEY, TOKEN, Layout
from kybern.cmd.progress import Progress
from kybern.cmd.ready import transport
from kybern.controllers.bootstraptokens import (
    CLUSTER_INFO,
    KUBECONFIG,
    NAME,
    PUBLIC,
    SIGNATURE,
    TOKENS,
    TYPE,
    entry,
    is_token,
    seconds_left,
)
from kybern.controllers.certificates.requests import NETWORK_GROUP
from kybern.web.pki import public_key_hash, read_certificate

GROUP = "system:bootstrappers:kybern:default-node-token"
RBAC = "rbac.authorization.k8s.io"
REQUESTS = "system:certificates.k8s.io:certificatesigningrequests"
TTL_SECONDS = 24 * 3600.0
SIGNED_SECONDS = 10.0
LOOK_AGAIN_SECONDS = 0.05
LETTERS = string.ascii_lowercase + string.digits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data_dir(parser)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    creating = actions.add_parser("create", help="make a token and print it")
    creating.add_argument("token", nargs="?", type=token_text, help="default: a new one")
    creating.add_argument("--ttl", type=ttl, default=TTL_SECONDS, help="until it expires, `2h30m`; 0: never (24h)")
    creating.add_argument("--description", default="", help="what it is for")
    creating.add_argument("--print-join-command", action="store_true", help="print what to type on the other machine")
    actions.add_parser("list", help="list the tokens, without their secret halves")
    deleting = actions.add_parser("delete", help="end tokens at once")
    deleting.add_argument("ids", nargs="+", metavar="TOKEN", help="a token, or its first six characters")


def token_text(text: str) -> str:
    if TOKEN.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no token: six letters or digits, a dot, and sixteen")
    return text


def ttl(text: str) -> float:
    from kybern.cel.errors import EvaluationError
    from kybern.cel.times import duration

    try:
        seconds = 0.0 if text == "0" else duration(text).nano / 1e9
    except EvaluationError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if seconds < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is over already")
    return seconds


def run(args: argparse.Namespace) -> int:
    progress = Progress(sys.stderr)
    cluster = config.saved(args.data_dir)
    if cluster is None or cluster.joined:
        return progress.failed(f"there is no API server in {args.data_dir}", "kybern up")
    if not cluster.advertise_address:
        return progress.failed(
            "other machines cannot reach this cluster", "kybern down, then kybern up --advertise-address ADDRESS"
        )
    try:
        return asyncio.run(act(cluster, args, progress))
    except (ApiError, OSError) as error:
        return progress.failed(str(error), "kybern status")


async def act(cluster: Cluster, args: argparse.Namespace, progress: Progress) -> int:
    connections = transport(cluster, ADMIN)
    client = Client(connections)
    try:
        if args.action == "create":
            await open_the_door(client, cluster)
            text = args.token or new_token(random.SystemRandom())
            await client.create(token_secret(text, args.ttl, args.description, time.time()))
            if not await signed(client, text):
                return progress.failed(
                    f"nobody signed with token {text[:6]} in {SIGNED_SECONDS:.0f} s", "kybern status"
                )
            print(join_command(cluster, text) if args.print_join_command else text)
        elif args.action == "list":
            secrets = await client.list(Secret, TOKENS, fields=f"type={TYPE}")
            show([secret for secret in secrets if is_token(secret)], time.time())
        else:
            for text in args.ids:
                await client.delete(Secret, f"{NAME}{text.partition('.')[0]}", TOKENS)
                progress.done(f"token {text.partition('.')[0]} is gone")
        return 0
    finally:
        connections.close()


async def signed(client: Client, text: str) -> bool:
    """Whoever types the token at once is to find it known."""
    deadline = time.monotonic() + SIGNED_SECONDS
    while time.monotonic() < deadline:
        info = await client.get(ConfigMap, CLUSTER_INFO, PUBLIC)
        if f"{SIGNATURE}{text[:6]}" in (info.data or {}):
            return True
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
    return False


def new_token(rng: random.Random) -> str:
    text = "".join(rng.choice(LETTERS) for _ in range(22))
    return f"{text[:6]}.{text[6:]}"


def token_secret(text: str, seconds: float, description: str, now: float) -> Secret:
    id_, _, secret = text.partition(".")
    entries = {
        "token-id": id_,
        "token-secret": secret,
        "expiration": rfc3339(now + seconds) if seconds else "",
        "description": description,
        "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
        "auth-extra-groups": GROUP,
    }
    return Secret(
        metadata=ObjectMeta(name=f"{NAME}{id_}", namespace=TOKENS),
        type=TYPE,
        data={key: base64.b64encode(value.encode()).decode() for key, value in entries.items() if value},
    )


def join_command(cluster: Cluster, text: str) -> str:
    pinned = public_key_hash(authority(cluster))
    return f"kybern join {host_port(cluster)} --token {text} --discovery-token-ca-cert-hash {pinned}"


def host_port(cluster: Cluster) -> str:
    address = cluster.advertise_address
    return f"{in_url(address)}:{cluster.port}"


def authority(cluster: Cluster) -> bytes:
    found = read_certificate(cluster.pki, "ca")
    assert found is not None, "credentials.prepare made it"
    return found


def show(secrets: list[Secret], now: float) -> None:
    rows = [("TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION")]
    for secret in secrets:
        left = seconds_left(secret, now)
        uses = [use for use in ("authentication", "signing") if entry(secret, f"usage-bootstrap-{use}") == "true"]
        ttl_text = "<forever>" if left is None else f"{int(left) // 3600}h{int(left) % 3600 // 60}m"
        expires = entry(secret, "expiration") or "<never>"
        rows.append((entry(secret, "token-id"), ttl_text, expires, ",".join(uses), entry(secret, "description")))
    for row in rows:
        print(f"{row[0]:<10}{row[1]:<12}{row[2]:<24}{row[3]:<26}{row[4]}".rstrip())


async def open_the_door(client: Client, cluster: Cluster) -> None:
    for wanted in door(cluster):
        try:
            await client.create(wanted)
        except AlreadyExists:
            if isinstance(wanted, ConfigMap):
                await renew(client, wanted)


async def renew(client: Client, wanted: ConfigMap) -> None:
    """What the cluster says of itself may have changed since; the signatures in it are made anew by the controller."""
    found = await client.get(ConfigMap, wanted.metadata.name or "", wanted.metadata.namespace or "")
    data = {**(found.data or {}), **(wanted.data or {})}
    if data != found.data:
        await client.update(replace(found, data=data))


def door(cluster: Cluster) -> Iterator[Any]:
    """What joining needs, with the rights to it."""
    entry_of_cluster = {
        "name": "",
        "cluster": {
            "server": f"https://{host_port(cluster)}",
            "certificate-authority-data": base64.b64encode(authority(cluster)).decode(),
        },
    }
    public = {"apiVersion": "v1", "kind": "Config", "clusters": [entry_of_cluster]}
    common = msgspec.json.encode(
        Layout(index=cluster.index, pod_network=cluster.pod_network, ip_family=cluster.ip_family)
    ).decode()
    yield ConfigMap(metadata=ObjectMeta(name=CLUSTER_INFO, namespace=PUBLIC), data={KUBECONFIG: yaml_text.dump(public)})
    yield ConfigMap(metadata=ObjectMeta(name=SETTINGS, namespace=TOKENS), data={SETTINGS_KEY: common})
    yield from readable(PUBLIC, CLUSTER_INFO, "kybern:bootstrap-signer-clusterinfo", "User", "system:anonymous")
    yield from readable(TOKENS, SETTINGS, "kybern:nodes-config", "Group", "system:nodes")
    for name, role, group in (
        ("kybern:kubelet-bootstrap", "system:node-bootstrapper", GROUP),
        ("kybern:node-autoapprove-bootstrap", f"{REQUESTS}:nodeclient", GROUP),
        ("kybern:node-autoapprove-certificate-rotation", f"{REQUESTS}:selfnodeclient", "system:nodes"),
        ("kybern:node-network-rotation", "system:node-bootstrapper", NETWORK_GROUP),
        ("kybern:node-network-autoapprove-bootstrap", "kybern:node-network-client", GROUP),
        ("kybern:node-network-autoapprove-rotation", "kybern:self-node-network-client", NETWORK_GROUP),
    ):
        yield ClusterRoleBinding(
            metadata=ObjectMeta(name=name),
            role_ref=RoleRef(api_group=RBAC, kind="ClusterRole", name=role),
            subjects=(Subject(kind="Group", name=group, api_group=RBAC),),
        )


def readable(namespace: str, name: str, role: str, kind: str, reader: str) -> Iterator[Role | RoleBinding]:
    """One ConfigMap, for one reader."""
    meta = ObjectMeta(name=role, namespace=namespace)
    rule = PolicyRule(verbs=("get",), api_groups=("",), resources=("configmaps",), resource_names=(name,))
    yield Role(metadata=meta, rules=(rule,))
    yield RoleBinding(
        metadata=meta,
        role_ref=RoleRef(api_group=RBAC, kind="Role", name=role),
        subjects=(Subject(kind=kind, name=reader, api_group=RBAC),),
    )
