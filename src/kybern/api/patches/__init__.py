"""The three patches that need no field owners: JSON patch, merge patch, strategic merge patch.

All are functions of decoded JSON that never change what they are given. `api.apply` is the fourth.
"""

from kybern.api.patches.json_patch import apply_json_patch
from kybern.api.patches.merge_patch import apply_merge_patch
from kybern.api.patches.strategic import apply_strategic_patch

__all__ = ["apply_json_patch", "apply_merge_patch", "apply_strategic_patch"]
