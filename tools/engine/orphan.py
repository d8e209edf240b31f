"""Ends a process when its parent is gone: kill -9 of `pulumi up` must leave nothing behind, and nothing else tells its children."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

_POLL_S = 0.3


def exit_with_parent(at_exit: Callable[[], None] = lambda: None) -> None:
    """Watch the parent from a daemon thread; when it dies, run `at_exit` and leave at once.

    Polling on purpose: the kernel's own parent-death signal fires when the parent's *thread* ends, and the engine's come and go.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_S)
        at_exit()
        os._exit(0)

    threading.Thread(target=watch, name="exit-with-parent", daemon=True).start()
