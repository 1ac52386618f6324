"""Server-side apply: who owns which field, and what follows from it (KEP-555).

    created(new, ...)         -> the fields of what was not there before, all its creator's
    track(old, new, ...)      -> managedFields after an ordinary write
    apply(live, applied, ...) -> the merged object and its managedFields, or Conflict

    check_typed(applied, ...) -> nothing, or BadRequest: a configuration that no schema allows

Read `fields` (sets of fields), then `compare` (values to sets), `merge` (values to values), `typed` (values to problems), `managers` (the entries).
"""

from kybern.api.apply.managers import apply, check_typed, created, track

__all__ = ["apply", "check_typed", "created", "track"]
