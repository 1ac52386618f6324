"""Who may use an image that is on the node already: whoever has what its pull took, else whoever can pull it himself.

    <data>/pulled-images/<image id>          what this kubelet pulled, and with whose secrets
    <data>/pulling-images/<hash of a name>   a pull that began: who was killed may have left an image without a record

An image without a record came otherwise (`kybern image load`) and is everybody's, as is one that was pulled without a
secret or with the node's own credentials. A record that a lost machine cut short lets nobody in. The records are upstream's.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kybern.kubelet.credentials import Login, SecretUsed, repository_of
from kybern.runtime import disk

NEVER, PRELOADED, ALLOWLISTED, ALWAYS = (
    "NeverVerify", "NeverVerifyPreloadedImages", "NeverVerifyAllowlistedImages", "AlwaysVerify",
)  # fmt: skip

SECRETS_MAX = 100  # of one image's record; what is beyond is verified anew each time


@dataclass(frozen=True, slots=True)
class PullPolicy:
    """Which images are verified before a pod uses them."""

    name: str = PRELOADED
    allowed: tuple[str, ...] = ()
    """Repositories, or beginnings of them that end in `/*`."""

    def verifies(self, repository: str, *, pulled: bool) -> bool:
        if self.name == ALLOWLISTED:
            return not any(_is_within(repository, allowed) for allowed in self.allowed)
        return pulled if self.name == PRELOADED else self.name == ALWAYS


def _is_within(repository: str, allowed: str) -> bool:
    return repository.startswith(allowed[:-1]) if allowed.endswith("/*") else repository == allowed


class PulledWith(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    node_pods_accessible: bool = False
    kubernetes_secrets: tuple[SecretUsed, ...] = ()


class PulledImage(msgspec.Struct, frozen=True, rename="camel"):
    image_ref: str
    credential_mapping: Mapping[str, PulledWith] = {}
    """By repository: the same image may be public in one and private in another."""


class PullRecords:
    def __init__(self, directory: str, policy: PullPolicy) -> None:
        """`directory`: empty where nothing is kept on disk."""
        self.policy = policy
        self._pulled = Path(directory, "pulled-images") if directory else None
        self._pulling = Path(directory, "pulling-images") if directory else None
        self._records = {name: _read(self._pulled, name) for name in disk.names(self._pulled)} if self._pulled else {}
        """By the name of the file, as is `_left`: they say the same when their content is lost."""
        self._begun = set[str]()
        self._left = set(disk.names(self._pulling)) if self._pulling else set[str]()
        """Begun by a kubelet that was killed."""

    def settle(self, image: str, image_id: str) -> None:
        """What such a pull came to, now that it is known: nobody has shown yet that he may use it."""
        if _name(image) in self._left:
            if image_id and _name(image_id) not in self._records:
                self._keep(PulledImage(image_ref=image_id))
            self._end(image)

    def may_use(self, image: str, image_id: str, logins: Sequence[Login]) -> bool:
        record, repository = self._records.get(_name(image_id)), repository_without_tag(image)
        if not self.policy.verifies(repository, pulled=record is not None or image in self._begun):
            return True
        known = record.credential_mapping.get(repository, PulledWith()) if record else PulledWith()
        if known.node_pods_accessible:
            return True
        hashes = {secret.credential_hash for secret in known.kubernetes_secrets}
        places = {secret.place for secret in known.kubernetes_secrets}
        shown = [login.secret for login in logins if login.secret is not None]
        return any(secret.credential_hash in hashes or secret.place in places for secret in shown)

    def began(self, image: str) -> None:
        self._begun.add(image)
        if self._pulling:
            disk.save(self._pulling / _name(image), image)

    def failed(self, image: str) -> None:
        self._end(image)

    def pulled(self, image: str, image_id: str, login: Login | None) -> None:
        repository, known = repository_without_tag(image), self._records.get(_name(image_id))
        mapping = known.credential_mapping if known else {}
        before = mapping.get(repository, PulledWith())
        now = with_login(before, login)
        if now != before:
            self._keep(PulledImage(image_ref=image_id, credential_mapping={**mapping, repository: now}))
        self._end(image)

    def names(self) -> set[str]:
        """Of the records that there are now."""
        return set(self._records)

    def forget(self, names: Collection[str], image_ids: Iterable[str]) -> None:
        """Those of `names` whose images are gone. An image may have come since somebody asked which there are: its record
        is none that there was before."""
        for name in set(names) - {_name(image_id) for image_id in image_ids}:
            if self._records.pop(name, None) is not None and self._pulled:
                (self._pulled / name).unlink(missing_ok=True)

    def _keep(self, record: PulledImage) -> None:
        self._records[_name(record.image_ref)] = record
        if self._pulled:
            disk.save(self._pulled / _name(record.image_ref), record)

    def _end(self, image: str) -> None:
        self._begun.discard(image)
        self._left.discard(_name(image))
        if self._pulling:
            (self._pulling / _name(image)).unlink(missing_ok=True)


def with_login(known: PulledWith, login: Login | None) -> PulledWith:
    if login is None or login.secret is None:
        return PulledWith(node_pods_accessible=True)
    others = [secret for secret in known.kubernetes_secrets if secret.place != login.secret.place]
    if known.node_pods_accessible or len(others) >= SECRETS_MAX:
        return known
    return PulledWith(kubernetes_secrets=(*others, login.secret))


def repository_without_tag(image: str) -> str:
    host, _, path = repository_of(image.partition("@")[0]).rpartition("/")
    return f"{host}/{path.partition(':')[0]}"


def _name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _read(directory: Path, name: str) -> PulledImage:
    return disk.load(directory / name, PulledImage) or PulledImage(image_ref="")
