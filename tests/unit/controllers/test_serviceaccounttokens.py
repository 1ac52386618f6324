"""Secrets that hold a service account's token."""

import asyncio
import base64
from typing import Any

import jwt
from msgspec.structs import replace

from kybern.api.core_v1 import Secret, ServiceAccount
from kybern.api.meta_v1 import ObjectMeta
from kybern.apiserver.auth.keys import keys_from_pem
from kybern.controllers.serviceaccounttokens import filled, is_of
from kybern.testing.cluster import ROOT_CERTIFICATE, running, signing_key
from kybern.testing.virtual import run

NAME, UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
ROBOT = ServiceAccount(metadata=ObjectMeta(name="robot", namespace="default", uid="u1"))


def secret(**annotations: str) -> Secret:
    meta = ObjectMeta(name="kept", namespace="default", annotations={NAME: "robot"} | annotations)
    return Secret(metadata=meta, type="kubernetes.io/service-account-token")


def text(found: Secret, name: str) -> str:
    return base64.b64decode((found.data or {})[name]).decode()


def whole(given: Secret) -> Secret:
    return filled(given, ROBOT, "pem", keys_from_pem(signing_key()).signing)


def test_a_secret_is_filled_with_token_certificate_and_namespace() -> None:
    found = whole(secret())
    assert (text(found, "ca.crt"), text(found, "namespace")) == ("pem", "default")
    assert found.metadata.annotations == {NAME: "robot", UID: "u1"}
    claims: dict[str, Any] = jwt.decode(text(found, "token"), options={"verify_signature": False})
    assert claims == {
        "iss": "kubernetes/serviceaccount",
        "sub": "system:serviceaccount:default:robot",
        "kubernetes.io/serviceaccount/namespace": "default",
        "kubernetes.io/serviceaccount/secret.name": "kept",
        "kubernetes.io/serviceaccount/service-account.name": "robot",
        "kubernetes.io/serviceaccount/service-account.uid": "u1",
    }


def test_a_token_that_is_there_stays_and_a_wrong_certificate_does_not() -> None:
    found = whole(replace(secret(), data={"token": "bWluZQ==", "ca.crt": "b2xk", "more": "eA=="}))
    assert (text(found, "token"), text(found, "ca.crt"), text(found, "more")) == ("mine", "pem", "x")
    assert whole(found) == found


def test_another_account_of_the_same_name_is_not_the_secret_s() -> None:
    assert is_of(secret(), ROBOT)
    assert is_of(secret(**{UID: "u1"}), ROBOT)
    assert not is_of(secret(**{UID: "u0"}), ROBOT)


def test_a_secret_does_not_outlive_its_account() -> None:
    async def story() -> None:
        async with running() as cluster:
            await cluster.client.create(ServiceAccount(metadata=ObjectMeta(name="robot", namespace="default")))
            await cluster.client.create(secret())
            await asyncio.sleep(2)
            found = await cluster.client.get(Secret, "kept", "default")
            assert text(found, "ca.crt") == ROOT_CERTIFICATE
            assert text(found, "token").count(".") == 2
            await cluster.client.delete(ServiceAccount, "robot", "default")
            await cluster.client.create(ServiceAccount(metadata=ObjectMeta(name="robot", namespace="default")))
            await asyncio.sleep(2)
            assert await cluster.client.list(Secret, "default") == []

    run(story())
