"""How a command ends: its exit code, and one line for whatever went wrong that its user can mend."""

import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from kybern.cmd.config import DamagedNote
from kybern.cmd.running import NoAnswer
from kybern.linux.user_namespace import Refused


def exit_code(run: Callable[[], int | None]) -> int:
    try:
        return run() or 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; there is nobody to tell
        return 141
    except (PermissionError, FileNotFoundError, NotADirectoryError) as error:
        print(f"kybern: {error.filename}: {(error.strerror or str(error)).lower()}", file=sys.stderr)
        return 1
    except (DamagedNote, NoAnswer, Refused) as error:
        print(f"kybern: {error}", file=sys.stderr)
        return 1


def leave(run: Callable[[], int | None]) -> NoReturn:
    """In a fork: it never comes back into its parent's code."""
    code = 1
    try:
        code = exit_code(run)
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 - the last frame of a process: a fault of ours
        traceback.print_exc()
    finally:
        os._exit(code)


def in_a_child(run: Callable[[], int | None]) -> int:
    child = os.fork()
    if child == 0:
        leave(run)
    return wait_for(child)


def wait_for(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
