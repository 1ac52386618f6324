"""Signatures of cluster-info, and the end of tokens."""

import asyncio
import base64

from kybern.aio.clock import rfc3339
from kybern.api.core_v1 import ConfigMap, Secret
from kybern.api.meta_v1 import ObjectMeta
from kybern.controllers.bootstraptokens import detached, is_token, seconds_left, signed, vouching
from kybern.testing.cluster import running
from kybern.testing.virtual import run

NOW = 1_790_000_000.0
SECRET = "0123456789abcdef"
SIGNED = "jws-kubeconfig-abcdef"


def token(id_: str = "abcdef", name: str = "", secret: str = SECRET, signs: str = "true", ends: str = "") -> Secret:
    texts = {"token-id": id_, "token-secret": secret, "usage-bootstrap-signing": signs, "expiration": ends}
    return Secret(
        metadata=ObjectMeta(name=name or f"bootstrap-token-{id_}", namespace="kube-system"),
        type="bootstrap.kubernetes.io/token",
        data={key: base64.b64encode(text.encode()).decode() for key, text in texts.items() if text},
    )


def test_a_signature_is_a_jws_without_its_payload() -> None:
    header, payload, signature = detached("content", "abcdef", SECRET).split(".")
    assert base64.urlsafe_b64decode(header + "==") == b'{"alg":"HS256","kid":"abcdef"}'
    assert payload == ""
    assert len(base64.urlsafe_b64decode(signature + "=")) == 32


def test_each_token_signs_and_no_other_signature_stays() -> None:
    data = {"kubeconfig": "k", "note": "n", "jws-kubeconfig-gone00": "old"}
    assert signed(data, {"abcdef": SECRET}) == {
        "kubeconfig": "k", "note": "n", SIGNED: detached("k", "abcdef", SECRET),
    }  # fmt: skip
    assert signed({SIGNED: "old"}, {"abcdef": SECRET}) == {
        SIGNED: "old"
    }  # nothing to sign: left alone, as upstream does


def test_only_a_good_token_that_is_meant_to_vouches() -> None:
    bad = [
        token(id_="ABCDEF"), token(secret="short"), token(signs="false"), token(name="other"),
        token(ends=rfc3339(NOW - 1)), token(ends="tomorrow"),
    ]  # fmt: skip
    assert vouching(bad, NOW) == {}
    assert vouching([token(), token("good00", ends=rfc3339(NOW + 1))], NOW) == {"abcdef": SECRET, "good00": SECRET}


def test_a_token_without_an_end_stays_and_an_unreadable_end_has_passed() -> None:
    assert seconds_left(token(), NOW) is None
    assert seconds_left(token(ends="tomorrow"), NOW) == 0
    assert seconds_left(token(ends=rfc3339(NOW + 60)), NOW) == 60


def test_a_secret_of_another_type_is_no_token() -> None:
    assert is_token(token())
    assert not is_token(Secret(metadata=ObjectMeta(name="bootstrap-token-abcdef", namespace="kube-system")))


def test_a_token_signs_until_it_ends_and_is_then_deleted() -> None:
    async def story() -> None:
        async with running() as cluster:
            info = ConfigMap(
                metadata=ObjectMeta(name="cluster-info", namespace="kube-public"), data={"kubeconfig": "k"}
            )
            await cluster.client.create(info)
            await cluster.client.create(token(ends=rfc3339(cluster.clock.wall() + 60)))
            await asyncio.sleep(5)
            found = await cluster.client.get(ConfigMap, "cluster-info", "kube-public")
            assert (found.data or {})[SIGNED] == detached("k", "abcdef", SECRET)
            await asyncio.sleep(60)
            assert (await cluster.client.get(ConfigMap, "cluster-info", "kube-public")).data == {"kubeconfig": "k"}
            assert await cluster.client.list(Secret, "kube-system") == []

    run(story())
