"""What an update would have changed, shown to whoever may not change it: the fields that differ, as a short unified diff."""

from typing import Any

from kybern.api.codec import to_builtins
from kybern.api.invalid import printed


def difference(type_name: str, old: Any, new: Any) -> str:
    before, after = to_builtins(old), to_builtins(new)
    lines = [f"  {type_name}{{"]
    for field in sorted({*before, *after}):
        if before.get(field) == after.get(field):
            continue
        lines += [
            f"{sign} \t{field}: {printed(part[field])},"
            for sign, part in (("-", before), ("+", after))
            if field in part
        ]
    return "\n".join([*lines, "  }"])
