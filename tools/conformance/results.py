"""results.py LOG...: what the suite's logs say: how many passed, and which did not. Ends with 1 where one did not, or none ran."""

import re
import sys
from pathlib import Path

RESULT = re.compile(r'^\{"msg":"(PASSED|FAILED) ([^"]*)"', re.MULTILINE)


def main(logs: list[str]) -> int:
    found = [match.groups() for log in logs for match in RESULT.finditer(Path(log).read_text(errors="replace"))]
    failed = sorted(name for result, name in found if result == "FAILED")
    for name in failed:
        print(f"failed: {name}")
    print(f"{len(found) - len(failed)} of {len(found)} passed")
    return 0 if found and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
