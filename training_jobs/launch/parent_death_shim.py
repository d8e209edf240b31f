"""Runs a command so that the kernel kills it when its parent process dies, even by SIGKILL (Linux).

Usage: parent_death_shim.py PARENT_PID COMMAND... It is started as a file with -I -S, which takes a few milliseconds.
"""

import os
import sys

_PR_SET_PDEATHSIG = 1
_SIGKILL = 9


def _main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the parent died before prctl: no signal will come
            os._exit(128 + _SIGKILL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - an argv list, no shell
    except OSError as error:
        print(f"gpuyard: cannot start {command[0]!r}: {error.strerror}", file=sys.stderr)
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    _main()
