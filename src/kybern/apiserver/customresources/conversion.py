"""Conversion by webhook: a server of the definition's author makes of an object of one version one of another.

- Several objects travel in one ConversionReview, those that are of the wanted version already stay at home.
- What comes back is an object of the same kind, name, namespace and uid; of its metadata only labels and annotations are
  taken over. Everything else that a server might answer is an error, and told in upstream's words.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from kybern.aio.beside import beside
from kybern.aio.ids import Ids
from kybern.api.apiextensions_v1 import CustomResourceDefinition, WebhookClientConfig
from kybern.api.codec import encode, from_builtins
from kybern.api.custom import CustomObject
from kybern.api.errors import InternalError
from kybern.api.strict import Malformed, parse
from kybern.apiserver.callouts.callouts import CalloutFailed, Callouts
from kybern.apiserver.options import LARGE_BYTES
from kybern.registry.metadata import validate_annotations, validate_labels

TIMEOUT_SECONDS = 30  # upstream's
OBJECTS_MAX = 500  # in one review
GROUP = "apiextensions.k8s.io"
REVIEWS = ("v1", "v1beta1")


class WebhookConversion:
    def __init__(self, definition: CustomResourceDefinition, callouts: Callouts, ids: Ids) -> None:
        webhook = definition.spec.conversion.webhook if definition.spec.conversion else None
        assert webhook is not None and webhook.client_config is not None, "validation saw to it"
        self.config: WebhookClientConfig = webhook.client_config
        self.review = next(version for version in webhook.conversion_review_versions if version in REVIEWS)
        self.callouts, self.ids = callouts, ids

    async def convert(self, objects: Sequence[CustomObject], api_version: str) -> list[CustomObject]:
        """All of them in this version, in their order. InternalError where one cannot be had."""
        foreign = [obj for obj in objects if obj["apiVersion"] != api_version]
        made: list[CustomObject] = []
        for first in range(0, len(foreign), OBJECTS_MAX):
            made += await self._ask(foreign[first : first + OBJECTS_MAX], api_version)
        converted = iter(made)
        return [obj if obj["apiVersion"] == api_version else next(converted) for obj in objects]

    async def _ask(self, objects: Sequence[CustomObject], api_version: str) -> list[CustomObject]:
        about = f"conversion webhook for {objects[0]['apiVersion']}, Kind={objects[0]['kind']}"
        uid = self.ids.uid()
        request = {"uid": uid, "desiredAPIVersion": api_version, "objects": list(objects)}
        review = {"kind": "ConversionReview", "apiVersion": f"{GROUP}/{self.review}", "request": request}
        try:
            answer = await self.callouts.post(self.config, encode(review), timeout_seconds=TIMEOUT_SECONDS)
            found = await beside(lambda: self.objects_in(answer, uid), len(answer) > LARGE_BYTES)
        except (CalloutFailed, WrongAnswer) as error:
            raise InternalError(f"{about} failed: {error}") from error
        if len(found) != len(objects):
            raise InternalError(f"{about} returned {len(found)} objects, expected {len(objects)}")
        try:
            return [taken_over(old, new, api_version) for old, new in zip(objects, found, strict=True)]
        except WrongAnswer as error:
            raise InternalError(f"{about} returned invalid object: {error}") from error

    def objects_in(self, answer: bytes, uid: str) -> list[Any]:
        try:
            review = parse(answer)
        except Malformed as error:
            raise WrongAnswer(str(error)) from None
        response = review.get("response") if isinstance(review, dict) else None
        if not isinstance(response, dict):
            raise WrongAnswer("no response provided")
        if self.review == "v1":
            wanted = (f"{GROUP}/v1", "ConversionReview")
            if (review.get("apiVersion"), review.get("kind")) != wanted:
                got = f"{review.get('apiVersion')}, Kind={review.get('kind')}"
                raise WrongAnswer(f"expected webhook response of {wanted[0]}, Kind={wanted[1]}, got {got}")
            if response.get("uid") != uid:
                raise WrongAnswer(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
        result = response.get("result")
        status = result.get("status", "") if isinstance(result, dict) else ""
        if status != "Success":
            message = result.get("message") if isinstance(result, dict) else None
            raise WrongAnswer(str(message or f"response.result.status was '{status}', not 'Success'"))
        found = response.get("convertedObjects")
        return found if isinstance(found, list) else []


class WrongAnswer(Exception):
    """`str` says what is wrong, in upstream's words."""


def taken_over(old: CustomObject, answer: Any, api_version: str) -> CustomObject:
    """The converted object, with the metadata that it had but for labels and annotations."""
    try:
        new: CustomObject = from_builtins(CustomObject, answer)
    except msgspec.ValidationError as error:
        raise WrongAnswer(str(error)) from None
    if new["apiVersion"] != api_version:
        raise WrongAnswer(f"invalid groupVersion (expected {api_version}, received {new['apiVersion']})")
    before, meta = old.metadata, new.metadata
    for what, one, other in (
        ("kind", old["kind"], new["kind"]), ("name", before.name, meta.name),
        ("namespace", before.namespace, meta.namespace), ("UID", before.uid, meta.uid),
    ):  # fmt: skip
        if (one or "") != (other or ""):
            raise WrongAnswer(f"must have the same {what}: {one or ''} != {other or ''}")
    wrong = [*validate_labels(meta.labels or {}, "metadata.labels")] if meta.labels != before.labels else []
    if meta.annotations != before.annotations:
        wrong += validate_annotations(meta.annotations or {}, "metadata.annotations")
    if wrong:
        raise WrongAnswer(str(wrong[0]))
    return new.changed(metadata=replace(before, labels=meta.labels or None, annotations=meta.annotations or None))
