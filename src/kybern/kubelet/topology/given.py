"""What was given to whom, kept on disk, so that a kubelet that starts again takes nothing from a container that runs.

A file that cannot be read counts as one that was never written.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from kybern.api.codec import encode
from kybern.kubelet.files import read_text, replace_file

T = TypeVar("T")


class Kept(Generic[T]):
    """One value in a file."""

    def __init__(self, path: str, kind: Any, empty: T) -> None:
        """`path` of the file; empty for none. `kind`: the type that its content must have."""
        self.path = path
        text = read_text(path) if path else ""
        try:
            self.value: T = msgspec.json.decode(text, type=kind) if text else empty
        except msgspec.DecodeError:
            self.value = empty

    def save(self) -> None:
        if self.path:
            replace_file(self.path, encode(self.value))


class Given(Generic[T]):
    """By pod and container."""

    def __init__(self, path: str, kind: Any) -> None:
        self._kept: Kept[dict[str, dict[str, T]]] = Kept(path, dict[str, dict[str, kind]], {})

    @property
    def every(self) -> Mapping[str, Mapping[str, T]]:
        return self._kept.value

    def of_pod(self, uid: str) -> Mapping[str, T]:
        return self._kept.value.get(uid, {})

    def of(self, uid: str, container: str) -> T | None:
        return self.of_pod(uid).get(container)

    def give(self, uid: str, what: Mapping[str, T]) -> None:
        """By container; what others of the pod have they keep."""
        self._kept.value.setdefault(uid, {}).update(what)
        self._kept.save()

    def release(self, uid: str) -> bool:
        """Whether it had any."""
        if self._kept.value.pop(uid, None) is None:
            return False
        self._kept.save()
        return True

    def keep_only(self, uids: Iterable[str]) -> None:
        """Pods that went while nobody looked have nothing any more."""
        for uid in self._kept.value.keys() - set(uids):
            self.release(uid)
