"""The plan of a run, made in a second process while this one imports Lightning and W&B.

Imports keep one core busy for seconds; so do the references, the prediction and, on a machine's first run, compiling the
engine's loop. On two cores the two take as long as the longer one. The second process writes nothing but compiled code
into numba's cache, and prints nothing but that it compiles; what it finds is what
:func:`~dlntorch.run.planning.plan_run` finds here, to the bit. Where it cannot help (one core, a large problem, a GPU)
or fails, the plan is made here.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlntorch.engine import CAPABILITIES
from dlntorch.numerics.threads import numeric_threads
from dlntorch.optim.step_size import KINDS
from dlntorch.problem import Problem, make_problem
from dlntorch.run.planning import LARGE_ENTRIES, Plan, plan_run

__all__ = ["PlanAhead", "main"]


class PlanAhead:
    """A plan in the making; call it like :func:`plan_run`. A context manager, whose end is the end of the process.

    Args:
        config: The resolved configuration of a single run.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = dict(config)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PlanAhead:
        if _saves_time(self._config):
            with tempfile.TemporaryFile() as question:
                question.write(pickle.dumps(self._config))
                question.seek(0)
                self._process = subprocess.Popen(
                    [
                        sys.executable,
                        "-c",
                        "import gc; gc.disable(); from dlntorch.run.background_plan import main; main()",
                    ],
                    stdin=question,
                    stdout=subprocess.PIPE,
                    stderr=None if _has_standard_error() else subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is this process's to handle
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def __call__(self, config: Mapping[str, Any], problem: Problem) -> Plan:
        """The plan; mistakes in the configuration are found again here, where they can be reported."""
        if self._process is not None:
            answer, _ = self._process.communicate()
            returncode, self._process = self._process.returncode, None
            if returncode == 0:
                return pickle.loads(answer)
        return plan_run(config, problem)


def _has_standard_error() -> bool:
    """Whether there is one to inherit; its number may have gone to another file."""
    try:
        return os.fstat(2).st_ino == os.fstat(sys.stderr.fileno()).st_ino
    except (OSError, ValueError, AttributeError):
        return False


def _saves_time(config: Mapping[str, Any]) -> bool:
    if "lightning.pytorch" in sys.modules:
        return False
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    engine = CAPABILITIES.get(config["engine"]["name"])  # none for auto
    on_cpu = str(config["device"]) in ("auto", "cpu") and (engine is None or engine.compiled)
    # the coarse pass of schedule=certified is a run of its own, and shards have processes of theirs
    schedule = KINDS.get(config["schedule"]["name"])  # none for a step size of the user's
    alone = (schedule is None or not schedule.certifies) and config["trainer"]["shards"] == 1
    return cores > 1 and on_cpu and alone and _is_small(config["problem"])


def _is_small(problem: Mapping[str, Any]) -> bool:
    """Whether a second copy of the problem costs nothing that anyone would notice."""
    path = problem.get("path")
    if path is not None and not isinstance(path, str):  # which is said where the problem is made
        return False
    if path is not None:
        return Path(path).is_file() and Path(path).stat().st_size <= 8 * LARGE_ENTRIES
    m, n = problem.get("m") or 1, problem.get("n") or 1
    return isinstance(m, int) and isinstance(n, int) and m * n <= LARGE_ENTRIES


def main() -> None:
    """What the second process runs: a configuration comes in, pickled by the first; a plan goes out."""
    from dlntorch.numerics.compile_notice import notice  # imports numba, for which the first process does not wait

    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as out:
        # What a library prints must not get between; that kernels are being compiled is said all the same.
        notice.stream = os.fdopen(os.dup(2), "w")
        with open(os.devnull, "wb") as nowhere:
            for descriptor in (1, 2):
                os.dup2(nowhere.fileno(), descriptor)
        warnings.simplefilter("ignore")  # they are given where the problem is made for the run
        config = pickle.load(sys.stdin.buffer)
        problem = make_problem(**config["problem"])
        with numeric_threads(config["trainer"]["threads"], problem):
            plan = plan_run(config, problem)
            plan.new_descent().advance()  # compiles the loop
        out.write(pickle.dumps(plan))
    os._exit(0)  # as in command_line.leave
