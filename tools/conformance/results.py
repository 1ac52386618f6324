"""results.py LOG...: what the suite's logs say: how many passed, and which did not.

Ends with 1 where one did not, where none ran, or where the suite itself did not come to its end.
"""

import re
import sys
from pathlib import Path

RESULT = re.compile(r'\{"msg":"(PASSED|FAILED) ([^"]*)"')
END = re.compile(r"^Ran (\d+) of \d+ Specs", re.MULTILINE)
AT_ONCE = "it replaces a status that has an owner, and gives up where that wrote in between; later versions try again"
CHANGED_SINCE = {
    "[sig-instrumentation] Events API should ensure that an event can be fetched, patched, deleted, and listed "
    "[Conformance]": "it changes an event's note, which was a mistake of 1.20's server; later ones refuse it, and so do we",
    "[sig-apps] Daemon set [Serial] should update pod when spec was updated and update strategy is RollingUpdate "
    "[Conformance]": "it looks for `creationTimestamp: null` in the template of a revision, which later versions leave out",
    "[k8s.io] Pods should run through the lifecycle of Pods and PodStatus [Conformance]": AT_ONCE,
    "[sig-network] Ingress API should support creating Ingress API operations [Conformance]": AT_ONCE,
}
"""Tests of 1.20 that no later server is sure to pass, and why."""


def main(logs: list[str]) -> int:
    whole, found = True, []
    for log in logs:
        text = Path(log).read_text(errors="replace")
        results = RESULT.findall(text)
        found += results
        if [len(results)] != [int(count) for count in END.findall(text)]:
            print(f"not to its end: {log}")
            whole = False
    failed = sorted({name for result, name in found if result == "FAILED"})
    for name in failed:
        print(f"failed: {name}" + (f"\n  which does not count: {CHANGED_SINCE[name]}" if name in CHANGED_SINCE else ""))
    print(f"{len(found) - len(failed)} of {len(found)} passed")
    return 0 if whole and found and set(failed) <= set(CHANGED_SINCE) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
