"""A pytest plugin for the runs of this folder: what was run, how long it took, which test failed.

It is copied beside the tree that is tested and loaded with ``-p``, so that it imports nothing of it. Under ``coverage run``
it also names coverage's contexts after the test functions. Environment: ``MUTATION_RECORD`` is the JSON file to write,
``MUTATION_LIMITS`` a JSON file of seconds by test function, after which the process is ended, also inside compiled code.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

_RECORD = Path(os.environ["MUTATION_RECORD"])
_LIMITS: dict[str, float] = {}
_OUTCOME: dict[str, Any] = {"seconds": {}, "failed": {}, "running": ""}
# A mutant may ask for any amount of memory; that is its death, not the machine's.
_MEMORY = 8 * 2**30
# pytest captures the standard streams, so the watchdog writes to a file.
_LATE = _RECORD.with_suffix(".late").open("w")


def pytest_configure(config: pytest.Config) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    if "MUTATION_LIMITS" in os.environ:
        _LIMITS.update(json.loads(Path(os.environ["MUTATION_LIMITS"]).read_text()))
    with contextlib.suppress(ImportError):
        from hypothesis import settings  # the same examples every time, and none kept from one mutant for the next

        settings.register_profile("mutation", derandomize=True, database=None, deadline=None)
        settings.load_profile("mutation")


def function_of(nodeid: str) -> str:
    """The test function of a test: all its parameters are one."""
    return nodeid.split("[")[0]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item):
    function = function_of(item.nodeid)
    if function in _LIMITS:
        _OUTCOME["running"] = item.nodeid
        _write()  # there is no later moment if the watchdog ends the process
        faulthandler.dump_traceback_later(_LIMITS[function], exit=True, file=_LATE)
    yield
    faulthandler.cancel_dump_traceback_later()
    _OUTCOME["running"] = ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    _context(item, "setup")


def pytest_runtest_call(item: pytest.Item) -> None:
    _context(item, "call")


def pytest_runtest_teardown(item: pytest.Item) -> None:
    _context(item, "setup")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    function = function_of(report.nodeid)
    if not report.skipped:
        _OUTCOME["seconds"][function] = _OUTCOME["seconds"].get(function, 0.0) + report.duration
    if report.failed:
        _OUTCOME["failed"].setdefault(report.nodeid, str(report.longrepr).strip().splitlines()[-1][:200])


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _OUTCOME["failed"][report.nodeid] = str(report.longrepr).strip().splitlines()[-1][:200]


def pytest_sessionfinish() -> None:
    _write()


def _write() -> None:
    _RECORD.write_text(json.dumps(_OUTCOME))


def _context(item: pytest.Item, phase: str) -> None:
    with contextlib.suppress(ImportError):
        import coverage

        measuring = coverage.Coverage.current()
        if measuring is not None:
            measuring.switch_context(f"{function_of(item.nodeid)}|{phase}")
