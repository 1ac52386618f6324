"""The entries of managedFields: who owns which set, and how a write moves ownership.

- An ordinary write (Update) takes what it changes from everybody else.
- An applied configuration (Apply) owns exactly what it says. Changing what another manager owns is a conflict unless
  forced; what it no longer says and nobody owns goes away.
- An object that was never tracked stays so until somebody applies to it; what it has then is `before-first-apply`'s.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from kybern.api.apply import fields as sets
from kybern.api.apply import typed
from kybern.api.apply.compare import added, changes, configured, owned_part
from kybern.api.apply.fields import Fields
from kybern.api.apply.merge import merged, pruned
from kybern.api.errors import BadRequest, Conflict
from kybern.api.meta_v1 import StatusCause
from kybern.api.normal import normal
from kybern.api.schema import Node
from kybern.api.strict import Malformed, parse

Entry = dict[str, Any]
"""One entry of metadata.managedFields, as JSON."""

UPDATERS_MAX = 10  # the oldest of more ordinary writers share one entry
ANCIENT = "ancient-changes"
BEFORE_FIRST_APPLY = "before-first-apply"
KUBECTL = "kubectl"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def entry(manager: str, operation: str, api_version: str, now: str, fields: Fields, subresource: str = "") -> Entry:
    found = {
        "manager": manager,
        "operation": operation,
        "apiVersion": api_version,
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    if subresource:
        found["subresource"] = subresource
    return found


def entries_of(document: Mapping[str, Any] | None) -> list[Entry]:
    metadata = (document or {}).get("metadata") or {}
    return list(metadata.get("managedFields") or ())


def _identity(found: Entry) -> tuple[str | None, ...]:
    """An applier is the same in every version."""
    operation = found.get("operation")
    version = None if operation == "Apply" else found.get("apiVersion")
    return found.get("manager"), operation, version, found.get("subresource")


def _with(found: Entry, fields: Fields) -> Entry:
    return found if fields is found["fieldsV1"] else {**found, "fieldsV1": fields}


def _without(found: Iterable[Entry], taken: Fields, removed: Fields) -> list[Entry]:
    """Every entry without what somebody else took and what is gone; none that is left with nothing."""
    rest = []
    for one in found:
        fields = one["fieldsV1"]
        kept = sets.minus(fields, taken) if taken else fields
        kept = sets.without_branches(kept, removed) if removed else kept
        if kept:
            rest.append(one if kept == fields else _with(one, kept))
    return rest


# --- ordinary writes --------------------------------------------------------------------------------------------------


def created(new: Mapping[str, Any], schema: Node, ignored: tuple[str, ...] = ()) -> Fields:
    """The set of a new object's fields, without those that nobody owns and the top-level ones that are ignored here."""
    return added(schema, owned_part(new, ignored))


def track(
    old: Mapping[str, Any] | None,
    new: Mapping[str, Any],
    *,
    manager: str,
    api_version: str,
    now: str,
    schema: Node,
    operation: str = "Update",
    subresource: str = "",
    ignored: tuple[str, ...] = (),
) -> list[Entry]:
    """metadata.managedFields of `new`, which `manager` wrote over `old` (None: created). Both as decoded JSON.

    `ignored` are top-level fields that this request cannot set, `status` of a new object say.
    """
    if old is None:
        fields = created(new, schema, ignored)
        return [entry(manager, operation, api_version, now, fields, subresource)] if fields else []
    known = entries_of(old)
    sent = entries_of(new)
    if sent == [{}]:  # how a client asks to forget all owners
        return []
    if sent and sent != known and not subresource:
        _check_entries(sent)
        known = sent
    if not known:
        return []
    changed, removed = changes(schema, owned_part(old, ignored), owned_part(new, ignored))
    if not changed and not removed:
        return known
    mine = entry(manager, operation, api_version, now, changed, subresource)
    rest = []
    for one in _without(known, changed, removed):
        if changed and _identity(one) == _identity(mine):
            mine["fieldsV1"] = sets.union(one["fieldsV1"], changed)
        else:
            rest.append(one)
    return _in_order(_capped([*rest, mine] if changed else rest))


def _check_entries(sent: list[Entry]) -> None:
    for one in sent:
        if not isinstance(one, dict) or not sets.is_set(one.get("fieldsV1")):
            raise BadRequest("metadata.managedFields: Invalid value: fieldsV1 must be a set of fields")


def _in_order(found: list[Entry]) -> list[Entry]:
    return sorted(
        found,
        key=lambda one: tuple(
            str(one.get(key) or "") for key in ("operation", "time", "manager", "apiVersion", "subresource")
        ),
    )


def _capped(found: list[Entry]) -> list[Entry]:
    """At most so many ordinary writers: the oldest of one version become one entry."""
    updaters = sorted(
        (one for one in found if one.get("operation") == "Update"), key=lambda one: str(one.get("time") or "")
    )
    surplus = len(updaters) - UPDATERS_MAX
    if surplus <= 0:
        return found
    merging: dict[Any, list[Entry]] = {}
    for one in updaters:
        merging.setdefault(one.get("apiVersion"), []).append(one)
    gone: list[Entry] = []
    made: list[Entry] = []
    for version, same in merging.items():
        old = same[: surplus + 1]
        if surplus <= 0 or len(old) < 2:
            continue
        fields: Fields = {}
        for one in old:
            fields = sets.union(fields, one["fieldsV1"])
        made.append(entry(ANCIENT, "Update", str(version or ""), str(old[-1].get("time") or ""), fields))
        gone += old
        surplus -= len(old) - 1
    return [one for one in found if one not in gone] + made


# --- apply ------------------------------------------------------------------------------------------------------------


def apply(
    live: Mapping[str, Any] | None,
    applied: Mapping[str, Any],
    *,
    manager: str,
    api_version: str,
    now: str,
    schema: Node,
    force: bool = False,
    subresource: str = "",
    ignored: tuple[str, ...] = (),
    told_version: str = "",
) -> tuple[dict[str, Any], list[Entry]]:
    """The merged object (managedFields left out) and its managedFields. Conflict; BadRequest for a bad configuration.

    `ignored` are top-level fields that this request cannot set, `status` say: they are neither merged nor owned.
    `told_version`: in which version conflicts are told, where it is another one (a scale's).
    """
    if entries_of(applied):
        raise BadRequest("metadata.managedFields must be nil")
    wanted = {key: value for key, value in applied.items() if key not in ignored}
    try:
        wanted = normal(schema, wanted)
    except ValueError as why:
        raise BadRequest(f"failed to create typed patch object ({_object_name(applied, api_version)}): {why}") from None
    mine = configured(schema, owned_part(wanted)) or {}
    if live is None:
        return wanted, [entry(manager, "Apply", api_version, now, mine, subresource)] if mine else []

    known = entries_of(live) or _untracked(live, api_version, now, schema)
    me = entry(manager, "Apply", api_version, now, mine, subresource)
    last: Fields = next((one["fieldsV1"] for one in known if _identity(one) == _identity(me)), {})
    others = [one for one in known if _identity(one) != _identity(me)]

    result = _without_entries(merged(schema, live, wanted))
    if last:
        owned = mine
        for one in others:
            owned = sets.union(owned, one["fieldsV1"])
        result = pruned(schema, result, last, owned)
    changed, removed = changes(schema, owned_part(live), owned_part(result))
    if not force:
        told = [{**one, "apiVersion": told_version or one.get("apiVersion")} for one in others]
        _check_conflicts(told, changed, _allowed(live, schema) if manager == KUBECTL else {})
    if manager == KUBECTL:
        _refresh_last_applied(result, wanted)
    if not changed and not removed and last == mine:
        return result, known
    return result, _in_order([*_without(others, changed, removed), *([me] if mine else [])])


def check_typed(applied: Mapping[str, Any], api_version: str, schema: Node) -> None:
    """BadRequest, in upstream's words, for what cannot be merged. Upstream's code is 500: but the mistake is the client's."""
    found = list(typed.problems(schema, applied))
    if found:
        about = _object_name(applied, api_version)
        raise BadRequest(f"failed to create typed patch object ({about}): {typed.told(found)}")


def _object_name(applied: Mapping[str, Any], api_version: str) -> str:
    found = applied.get("metadata")
    metadata = found if isinstance(found, Mapping) else {}
    return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}; {api_version}, Kind={applied.get('kind', '')}"


def _untracked(live: Mapping[str, Any], api_version: str, now: str, schema: Node) -> list[Entry]:
    fields = added(schema, owned_part(live))
    return [entry(BEFORE_FIRST_APPLY, "Update", api_version, now, fields)] if fields else []


def _without_entries(document: dict[str, Any]) -> dict[str, Any]:
    metadata = document.get("metadata") or {}
    return {**document, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}


# --- conflicts --------------------------------------------------------------------------------------------------------


def _check_conflicts(others: list[Entry], changed: Fields, allowed: Fields) -> None:
    hits: list[tuple[Entry, tuple[str, ...]]] = []
    for one in others:
        hit = sets.common(one["fieldsV1"], changed)
        hits += [(one, path) for path in sets.paths(sets.minus(hit, allowed) if allowed else hit)]
    if hits:
        raise conflict(hits)


def conflict(hits: list[tuple[Entry, tuple[str, ...]]]) -> Conflict:
    causes = [
        StatusCause(reason="FieldManagerConflict", message=f"conflict with {_named(one)}", field_=sets.text(path))
        for one, path in hits
    ]
    if len(hits) == 1:
        one, path = hits[0]
        return Conflict(f"Apply failed with 1 conflict: conflict with {_named(one)}: {sets.text(path)}", causes=causes)
    by_manager: dict[str, list[str]] = {}
    for one, path in hits:
        by_manager.setdefault(_named(one), []).append(f"- {sets.text(path)}")
    lines = [line for name in sorted(by_manager) for line in (f"conflicts with {name}:", *by_manager[name])]
    return Conflict(f"Apply failed with {len(hits)} conflicts: " + "\n".join(lines), causes=causes)


def _named(one: Entry) -> str:
    """As messages name a manager: `"kubectl-client-side-apply" using apps/v1`."""
    found = f'"{one.get("manager") or ""}"'
    if one.get("subresource"):
        found += f' with subresource "{one["subresource"]}"'
    return f"{found} using {one.get('apiVersion')}" if one.get("operation") == "Update" else found


# --- from client-side apply to server-side apply ----------------------------------------------------------------------


def _last_applied(document: Mapping[str, Any]) -> str | None:
    annotations = (document.get("metadata") or {}).get("annotations") or {}
    found = annotations.get(LAST_APPLIED)
    return found if isinstance(found, str) else None


def _allowed(live: Mapping[str, Any], schema: Node) -> Fields:
    """What kubectl may take over without force: what it applied from the client's side before."""
    try:
        before = parse((_last_applied(live) or "{}").encode())
        return (configured(schema, owned_part(before)) or {}) if isinstance(before, dict) else {}
    except Malformed:
        return {}


def _refresh_last_applied(result: dict[str, Any], applied: Mapping[str, Any]) -> None:
    """Keeps the annotation true, so that client-side apply still works afterwards."""
    if _last_applied(result) is None:
        return
    metadata = result["metadata"]
    said = msgspec.json.encode(applied, order="sorted").decode() + "\n"
    result["metadata"] = {**metadata, "annotations": {**metadata["annotations"], LAST_APPLIED: said}}
