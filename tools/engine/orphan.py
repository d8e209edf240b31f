"""Exit when the parent process dies: kill -9 of `pulumi up` sends no signal to its children."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

__all__ = ["exit_with_parent"]

_POLL_S = 0.3


def exit_with_parent(at_exit: Callable[[], None] = lambda: None) -> None:
    """Watch the parent from a daemon thread. When it dies, run `at_exit` and exit at once.

    It polls on purpose: the kernel's parent-death signal fires when the parent's *thread* ends, and the engine's threads are short-lived.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_S)
        at_exit()
        os._exit(0)

    threading.Thread(target=watch, name="exit-with-parent", daemon=True).start()
