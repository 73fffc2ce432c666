"""Standard output and error that cannot end what is computed.

A full disk, a reader that went away, a stream that was closed and an encoding without the paper's letters concern what is
shown, not what is found: a letter is then spelled as its code, and text that cannot be written is lost, which standard
error says once where it can.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["unfailing_streams"]


class _Unfailing:
    """A text stream whose failures end nothing.

    Args:
        stream: The stream; None where the process was started without one.
        name: ``stdout`` or ``stderr``.
    """

    def __init__(self, stream: Any, name: str) -> None:
        self._stream = _Nowhere() if stream is None else stream
        self._name = name

    def write(self, text: str) -> int:
        """Write what can be written of the text; returns its length."""
        try:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError) as error:  # a closed file is a ValueError
            self._give_up(error)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush what can be flushed."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Let everything from here on, also of worker processes and of Python's own end, go nowhere."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            _send_nowhere(self._stream.fileno())
        self._stream = _Nowhere()
        if self._name == "stdout":
            why = getattr(error, "strerror", None) or error
            print(f"warning: what is printed is lost from here on ({why}); files are written as ever", file=sys.stderr)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def unfailing_streams() -> Iterator[None]:
    """While this is open, ``sys.stdout`` and ``sys.stderr`` raise nothing."""
    for descriptor in (1, 2):
        _occupy(descriptor)
    before = sys.stdout, sys.stderr
    guarded = [
        stream if isinstance(stream, _Unfailing) else _Unfailing(stream, name)
        for stream, name in zip(before, ("stdout", "stderr"), strict=True)
    ]
    sys.stdout, sys.stderr = guarded  # type: ignore[assignment]
    try:
        yield
    finally:
        for stream in guarded:
            stream.flush()
        sys.stdout, sys.stderr = before


def _occupy(descriptor: int) -> None:
    """Open nothing where a standard stream is closed: the next file that is opened would get what is printed."""
    try:
        os.fstat(descriptor)
    except OSError:
        _send_nowhere(descriptor)


def _send_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


class _Nowhere(io.StringIO):
    """A stream that keeps nothing."""

    encoding = "utf-8"  # type: ignore[assignment]

    def write(self, text: str) -> int:
        return len(text)
