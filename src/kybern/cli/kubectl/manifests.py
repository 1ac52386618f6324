"""Manifests from files, directories and stdin: every object of every document, lists taken apart."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kybern.cli.kubectl.session import CommandFailed

SUFFIXES = (".yaml", ".yml", ".json")


def objects_in(names: Sequence[str], *, recursive: bool = False) -> list[dict[str, Any]]:
    objects = [obj for name in names for file, text in texts(name, recursive) for obj in parsed(file, text)]
    if not objects:
        raise CommandFailed("error: no objects passed to apply")
    return objects


def texts(name: str, recursive: bool) -> Iterator[tuple[str, bytes]]:
    if name == "-":
        yield "stdin", sys.stdin.buffer.read()
        return
    path = Path(name)
    if not path.exists():
        raise CommandFailed(f'error: the path "{name}" does not exist')
    files = [path]
    if path.is_dir():
        found = path.rglob("*") if recursive else path.iterdir()
        files = sorted(file for file in found if file.is_file() and file.suffix in SUFFIXES)
        if not files:
            raise CommandFailed(f"error: error reading [{name}]: recognized file extensions are [.json .yaml .yml]")
    for file in files:
        try:
            yield str(file), file.read_bytes()
        except OSError as error:
            raise CommandFailed(f"error: {file}: {error.strerror}") from error


def parsed(file: str, text: bytes) -> Iterator[dict[str, Any]]:
    from kybern.api.yaml import NotYaml, documents

    try:
        found = list(documents(text))
    except NotYaml as error:
        raise CommandFailed(f"error: error parsing {file}: {error}") from error
    for document, repeated in found:
        if repeated:
            raise CommandFailed(f"error: error parsing {file}: {repeated[0]}")
        if document is not None:
            yield from flattened(file, document)


def flattened(file: str, document: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(document, dict) or not document.get("kind") or not document.get("apiVersion"):
        raise CommandFailed(f"error: {file}: every object needs apiVersion and kind")
    if document["kind"] == "List" or (str(document["kind"]).endswith("List") and "items" in document):
        for item in document.get("items") or []:
            yield from flattened(file, item)
        return
    if not isinstance(document.get("metadata"), dict) or not document["metadata"].get("name"):
        raise CommandFailed(f"error: {file}: a {document['kind']} needs metadata.name")
    yield document
