"""What a machine that joins believes, and what it does not."""

import base64

import pytest

from kybern.aio.ids import Ids
from kybern.api import yaml_text
from kybern.api.core_v1 import ConfigMap, Secret
from kybern.cmd.joining import TOKEN, Discovered, NotJoined, discover, verified
from kybern.cmd.token import new_token, token_secret, ttl
from kybern.controllers.bootstraptokens import detached, seconds_left, vouching
from kybern.web.http import Request, Response
from kybern.web.pki import SERVER as SERVER_USAGE
from kybern.web.pki import create_ca, issue, public_key_hash
from kybern.web.server import serve
from kybern.web.tls import server_context

NOW = 1_790_000_000.0
CA = create_ca("ca", NOW)
PIN = public_key_hash(CA.certificate)
ID, SECRET = "abcdef", "0123456789abcdef"
SERVER = "https://192.0.2.1:6443"


def content(ca: bytes = CA.certificate, server: str = SERVER) -> str:
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(ca).decode()}
    return yaml_text.dump({"apiVersion": "v1", "kind": "Config", "clusters": [{"name": "", "cluster": cluster}]})


def info(text: str, secret: str = SECRET, id_: str = ID) -> ConfigMap:
    return ConfigMap(data={"kubeconfig": text, f"jws-kubeconfig-{id_}": detached(text, id_, secret)})


def test_what_is_signed_with_the_token_and_has_the_pinned_key_is_believed() -> None:
    other = "sha256:" + "0" * 64
    assert verified(info(content()), f"{ID}.{SECRET}", [other, PIN]) == Discovered(SERVER, CA.certificate)


@pytest.mark.parametrize(
    ("found", "pins", "said"),
    [
        (ConfigMap(), [PIN], "knows no token abcdef"),
        (info(content(), id_="ghijkl"), [PIN], "knows no token abcdef"),
        (info(content(), secret="f" * 16), [PIN], "is not signed with token abcdef"),
        (ConfigMap(data={**(info(content()).data or {}), "kubeconfig": content(server="https://203.0.113.1")}), [PIN], "is not signed"),
        (info(content()), ["sha256:" + "0" * 64], f"has the public key {PIN}"),
        (info(content(create_ca("ca", NOW).certificate)), [PIN], "not the one that was named"),
        (info("clusters: []"), [PIN], "cannot be read"),
        (info("a: [b"), [PIN], "cannot be read"),
        (ConfigMap(data={"jws-kubeconfig-abcdef": "ü"}), [PIN], "is not signed"),
    ],
    ids=range(9),
)  # fmt: skip
def test_what_is_not_proved_is_refused_and_why_is_said(found: ConfigMap, pins: list[str], said: str) -> None:
    with pytest.raises(NotJoined, match=said):
        verified(found, f"{ID}.{SECRET}", pins)


@pytest.mark.parametrize("said", [b"<html>", b'{"data": 7}', b"[]"])
async def test_a_server_that_is_no_api_server_is_refused(said: bytes) -> None:
    pair = issue(CA, "web", now=NOW, ips=["127.0.0.1"], usages=(SERVER_USAGE,))

    async def answer(_: Request) -> Response:
        return Response(200, {"Content-Type": "application/json"}, said)

    server = await serve(answer, ssl=server_context(pair.certificate, pair.key))
    try:
        with pytest.raises(NotJoined, match="does not say who it is"):
            await discover(f"127.0.0.1:{server.port}", f"{ID}.{SECRET}", [PIN])
    finally:
        await server.close()


def test_a_new_token_signs_and_lets_in_until_it_ends() -> None:
    text = new_token(Ids(seed=1).rng)
    assert TOKEN.fullmatch(text)
    secret = token_secret(text, 3600.0, "", NOW)
    assert vouching([secret], NOW) == {text[:6]: text[7:]}
    assert seconds_left(secret, NOW) == 3600
    forever: Secret = token_secret(text, 0.0, "", NOW)
    assert seconds_left(forever, NOW) is None


def test_the_time_that_a_token_lasts_is_in_gos_notation() -> None:
    assert (ttl("2h30m"), ttl("0"), ttl("90s")) == (9000.0, 0.0, 90.0)
