"""One line on standard error where compiling keeps a person waiting; none where kernels come from the cache.

numba tells when it begins to compile, which it does only for what it does not find in the cache. The seconds are counted
over all kernels of the package, and a timer looks at them, since one kernel alone may take long.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from typing import Any, TextIO

from numba.core import event

__all__ = ["CompileNotice", "notice"]

_LOG = logging.getLogger(__name__)


class CompileNotice(event.Listener):
    """Says once in a process that it compiles, when it has done so for a while.

    Attributes:
        after: Seconds of compiling, in all, after which it is said; ``math.inf`` never says it.
        stream: Where; None is ``sys.stderr`` at that time.
    """

    text = "compiling dlntorch's kernels for this machine, up to a minute; they are kept for the next time"

    def __init__(self, after: float = 1.0) -> None:
        self.after = after
        self.stream: TextIO | None = None
        self._said = False
        self._depth = 0
        self._spent = self._began = 0.0
        self._timer: threading.Timer | None = None

    def on_start(self, event: Any) -> None:
        if self._said or not _is_ours(event):
            return
        self._depth += 1
        if self._depth == 1:
            self._began = time.perf_counter()
            left = self.after - self._spent
            if left < threading.TIMEOUT_MAX:
                self._timer = threading.Timer(max(left, 0.0), self._say)
                self._timer.daemon = True
                self._timer.start()

    def on_end(self, event: Any) -> None:
        if self._depth == 0 or not _is_ours(event):
            return
        self._depth -= 1
        if self._depth == 0:
            self._spent += time.perf_counter() - self._began
            if self._timer is not None:
                self._timer.cancel()
                self._timer.join()
                self._timer = None
            if self._spent >= self.after and not self._said:  # the timer came too late; more kernels may follow
                self._say()

    def _say(self) -> None:
        self._said = True
        _LOG.info(self.text)
        with contextlib.suppress(
            OSError, ValueError, AttributeError
        ):  # there may be no standard error, or a closed one
            print(self.text, file=self.stream or sys.stderr, flush=True)


def _is_ours(event: Any) -> bool:
    """Whether it is a kernel of this package that is compiled."""
    function = getattr(event.data.get("dispatcher"), "py_func", None)
    return str(getattr(function, "__module__", "")).partition(".")[0] == __name__.partition(".")[0]


#: The one of this process.
notice = CompileNotice()
event.register("numba:compile", notice)
