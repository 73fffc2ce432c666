"""That kernels are being compiled is said once, where it takes a while, and not where they come from the cache."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from numba import config

from dlntorch.numerics.compile_notice import CompileNotice, notice
from dlntorch.numerics.compiling import compiles, kernel


def compiling(module: str = "dlntorch.kernels") -> Any:
    function = SimpleNamespace(__module__=module)
    return SimpleNamespace(data={"dispatcher": SimpleNamespace(py_func=function)})


class Heard(CompileNotice):
    """A notice that tells when it has been said."""

    def __init__(self, after: float) -> None:
        super().__init__(after)
        self.stream, self.said = io.StringIO(), threading.Event()

    def _say(self) -> None:
        super()._say()
        self.said.set()


def test_a_long_compilation_is_said_while_it_lasts_and_once() -> None:
    made = Heard(0.01)
    made.on_start(compiling())
    assert made.said.wait(30)
    made.on_end(compiling())
    made.on_start(compiling())
    made.on_end(compiling())
    assert made.stream is not None
    text = made.stream.getvalue()  # type: ignore[attr-defined]
    assert text.count("\n") == 1
    assert text.startswith("compiling dlntorch's kernels")


def test_short_compilations_are_said_where_they_add_up() -> None:
    made = Heard(3600.0)
    for _ in range(3):
        made.on_start(compiling())
        made.on_start(compiling())  # a kernel that the first one calls
        made.on_end(compiling())
        made.on_end(compiling())
    assert not made.said.is_set()
    made._spent = 3600.0  # as if they had taken that long
    made.on_start(compiling())
    assert made.said.wait(30)


def test_other_peoples_functions_are_theirs_to_announce() -> None:
    made = Heard(0.0)
    made.on_start(compiling("dlntorch_plugin.kernels"))
    made.on_end(compiling("dlntorch_plugin.kernels"))
    assert made._timer is None
    assert not made.said.is_set()


def test_a_closed_standard_error_ends_nothing() -> None:
    made = Heard(0.0)
    assert made.stream is not None
    made.stream.close()
    made.on_start(compiling())
    assert made.said.wait(30)
    made.on_end(compiling())


def made_up(x: float) -> float:
    return x + 1.0


@pytest.mark.skipif(not compiles(), reason="NUMBA_DISABLE_JIT is set")
def test_a_kernel_is_announced_when_it_is_compiled_and_not_when_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(made_up, "__module__", "dlntorch.made_up")
    said = threading.Event()
    monkeypatch.setattr(notice, "after", 0.0)
    monkeypatch.setattr(notice, "_said", False)
    monkeypatch.setattr(notice, "_say", said.set)
    assert kernel(made_up)(1.0) == 2.0
    assert said.wait(30)
    said.clear()
    again = kernel(made_up)
    assert again(1.0) == 2.0
    assert not said.wait(0.2)
    assert sum(again.stats.cache_hits.values()) == 1
