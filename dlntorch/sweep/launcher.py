"""Hydra's launchers, made idempotent: a sweep that is run again launches only the points that are not done.

The launcher of Hydra or of a plugin does the launching; around it, points that are done are left out before anything is
submitted, and what the others came to is read from their folders, whichever process or machine they ran on.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.problem.formats import one_line
from dlntorch.run.configuration import OPEN_KEYS
from dlntorch.run.nouns import with_numbers
from dlntorch.store.folder import in_use
from dlntorch.store.provenance import code_version
from dlntorch.sweep.composing import SweepLoader
from dlntorch.sweep.points import (
    PointState,
    changes_result,
    check_code,
    objective,
    point_name,
    point_state,
    read_failure,
    read_summary,
    same_point,
    write_points,
)
from dlntorch.sweep.quoting import quoted
from dlntorch.sweep.submitit_jobs import patient_submitit

__all__ = ["PLUGINS", "idempotent_launchers", "plain_settings", "register_resolvers", "result_overrides"]

#: What to install for launchers and sweepers that are not Hydra's own.
PLUGINS = {
    "joblib": "hydra-joblib-launcher",
    "slurm": "hydra-submitit-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
    "optuna": "hydra-optuna-sweeper",
}

#: Takes configurations and folders, returns the numbers of those that it ran.
RunPacks = Callable[[list[tuple[DictConfig, Path]]], set[int]]

#: Variables that fix the number of threads of a process, read when its numeric libraries are loaded.
THREADS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS"
)  # fmt: skip


def register_resolvers() -> None:
    """``${sweep_name:}`` and ``${point_name:}``, the default folders of a sweep and of a point in it."""
    OmegaConf.register_new_resolver("sweep_name", _sweep_name, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("point_name", _point_name, replace=True)


def _sweep_name() -> str:
    """The same sweep asked for again, with the same code, has the same folder.

    Read from the command line once; Hydra hands the value on to the jobs, in other processes too.
    """
    asked = sorted(result_overrides([word for word in sys.argv[1:] if not word.startswith(("-", "hydra/"))]))
    return hashlib.sha256("\0".join([code_version(), *asked]).encode()).hexdigest()[:10]


def _point_name(*, _root_: DictConfig) -> str:
    try:
        return point_name(plain_settings(_root_))
    except (InputError, OmegaConfBaseException):  # the run itself says what is wrong with its configuration
        return f"invalid-{OmegaConf.select(_root_, 'hydra.job.num')}"


def plain_settings(config: DictConfig, throw_on_missing: bool = False) -> dict[str, Any]:
    """The settings, resolved, without Hydra's own node, which the configurations of a sweep carry; starts as numbers.

    Raises:
        InputError: for a file of the start that cannot be read.
    """
    settings: dict[str, Any] = {}
    for key in config:
        if key != "hydra":
            value = config[key]
            if OmegaConf.is_config(value):
                value = OmegaConf.to_container(value, resolve=True, throw_on_missing=throw_on_missing)
            settings[str(key)] = value
    return with_numbers(settings)


@contextlib.contextmanager
def idempotent_launchers(outcomes: list[int], run_packs: RunPacks) -> Iterator[list[IdempotentLauncher]]:
    """While this is open, every launcher that Hydra makes is wrapped, and is in the list that this yields.

    Args:
        outcomes: Gets the exit status of each point that is skipped, packed, or that ran in another process.
        run_packs: Runs those points of a sweep together that are faster so, where the sweep runs in this process.
    """
    plugins = Plugins.instance()
    make = plugins.instantiate_launcher
    made: list[IdempotentLauncher] = []

    def instantiate_launcher(
        *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> Launcher:
        target = str(config.hydra.launcher._target_)
        if find_spec(target.split(".")[0]) is None or not _importable(target):
            choice = OmegaConf.select(config, "hydra.runtime.choices.hydra/launcher", default=None)
            choice = choice or config.hydra.runtime.choices["hydra/launcher"]
            what = PLUGINS.get(str(choice), target)
            raise InputError(f"hydra/launcher must have its plugin installed, got {choice!r}: pip install {what}")
        if not isinstance(hydra_context.config_loader, SweepLoader):
            hydra_context.config_loader = SweepLoader(hydra_context.config_loader)
        _check_storage(config)
        inner = make(hydra_context=hydra_context, task_function=task_function, config=config)
        wrapper = IdempotentLauncher(inner, outcomes, run_packs)
        wrapper.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        made.append(wrapper)
        return wrapper

    plugins.instantiate_launcher = instantiate_launcher  # type: ignore[method-assign]
    try:
        yield made
    except Exception as error:
        for launcher in made:
            launcher.explain(error)
        raise
    finally:
        plugins.instantiate_launcher = make  # type: ignore[method-assign]


def _importable(target: str) -> bool:
    try:
        return find_spec(target.rsplit(".", 1)[0]) is not None
    except ModuleNotFoundError:
        return False


def _check_storage(config: DictConfig) -> None:
    """Refuse a storage of optuna 2 with an SQLAlchemy that it cannot work with."""
    storage = OmegaConf.select(config, "hydra.sweeper.storage", default=None)
    try:
        found = version("sqlalchemy")
    except PackageNotFoundError:
        return
    if storage is not None and int(found.split(".")[0]) >= 2:
        raise InputError(
            f"hydra.sweeper.storage must be left out with SQLAlchemy {found}, which optuna 2 cannot store with, "
            f"got {str(storage)!r}: pip install 'SQLAlchemy<2'"
        )


@dataclass
class _Point:
    """One point of a sweep, composed; its settings are None where they cannot be resolved."""

    overrides: list[str]
    config: DictConfig
    folder: Path
    state: PointState
    settings: dict[str, Any] | None


class IdempotentLauncher(Launcher):
    """Launches the points of a sweep that are not done, by the launcher ``inner``."""

    def __init__(self, inner: Launcher, outcomes: list[int], run_packs: RunPacks) -> None:
        self.inner = inner
        self.outcomes = outcomes
        self.run_packs = run_packs
        self.own_error: Exception | None = None
        self.launched = 0
        self.valued = 0
        self.sweep = Path()
        #: Folder -> overrides of the points that were asked for, but for those that are only planned (``dry_run``).
        self.points: dict[Path, str] = {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Launch what is not done; the returns, in the order asked, are those of the launcher or of the saved runs.

        A point that is asked for twice is run once.
        """
        try:
            returns = self._launch(job_overrides, initial_job_idx)
        except Exception as error:
            self.own_error = error
            raise
        self.launched += len(returns)
        self.valued += sum(one.status is JobStatus.COMPLETED and one.return_value is not None for one in returns)
        return returns

    def explain(self, error: Exception) -> None:
        """Say for a sweeper that searches what ended it, where that was not ours.

        Raises:
            InputError: naming the sweeper.
        """
        if error is self.own_error or not self._searches() or isinstance(error, (InputError, HydraException, OSError)):
            return
        choice = self.config.hydra.runtime.choices["hydra/sweeper"]
        if self.launched and not self.valued:
            raise InputError(
                f"hydra/sweeper={choice} must have points with a distance to W_p to minimise, got none in {self.launched}"
            ) from error
        why = one_line(f"{type(error).__name__}: {error}")
        raise InputError(f"hydra/sweeper must be able to search with its settings, got {choice!r} ({why})") from error

    def _searches(self) -> bool:
        """Whether the sweeper chooses its points by what the ones before came to: any but Hydra's own."""
        return "BasicSweeper" not in str(self.config.hydra.sweeper._target_)

    def _launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        setup_globals()
        sweep = Path(str(self.config.hydra.sweep.dir))
        sweep.mkdir(parents=True, exist_ok=True)
        check_code(sweep)
        points = [self._compose(list(o), initial_job_idx + i) for i, o in enumerate(job_overrides)]
        if self._searches() and any((point.settings or {}).get("references") is False for point in points):
            raise InputError(
                "references must be true with a sweeper that minimises the distance to W_p, which is one of them, got false"
            )
        words = {point.folder: " ".join(result_overrides(point.overrides)) for point in points}
        write_points(sweep, {folder.name: overrides for folder, overrides in words.items()})
        self.sweep = sweep
        planned = {point.folder for point in points if (point.settings or {}).get("dry_run") is True}
        self.points |= {folder: overrides for folder, overrides in words.items() if folder not in planned}
        todo = [i for i in _first_ones(points) if points[i].state is not PointState.DONE]
        _announce(sweep, points)
        returns: dict[int, JobReturn] = {}
        if type(self.inner).__name__ == "BasicLauncher":
            configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
            packed = self.run_packs([(points[i].config, points[i].folder) for i in todo])
            alone = [i for number, i in enumerate(todo) if number not in packed]
            returns = {i: self._run_here(points[i]) for i in alone}
        elif todo:
            with _one_thread_each(), patient_submitit():
                launched = self.inner.launch(self._numbered(points, todo), initial_job_idx)
            returns = dict(zip(todo, launched, strict=True))
            self.outcomes.extend(_exit_status(points[i].folder) for i in todo)
        for i, point in enumerate(points):
            if i not in returns:
                self.outcomes.append(_exit_status(point.folder))
                returns[i] = _saved_return(point)
        return [returns[i] for i in range(len(points))]

    def _numbered(self, points: Sequence[_Point], todo: Sequence[int]) -> list[list[str]]:
        """The overrides of the points to launch, which get the numbers of the first ones, whichever they are.

        Where the user has folders named by these numbers (``hydra.sweep.subdir``), each point is told its own.
        """
        named_by_number = "hydra.job" in str(OmegaConf.to_container(self.config.hydra.sweep, resolve=False))
        if not named_by_number or list(todo) == list(range(len(todo))):
            return [points[i].overrides for i in todo]
        sweep = Path(str(self.config.hydra.sweep.dir))
        inside = [points[i].folder.relative_to(sweep) for i in todo]
        return [
            [*points[i].overrides, f"hydra.sweep.subdir={quoted(str(name))}"]
            for i, name in zip(todo, inside, strict=True)
        ]

    def _compose(self, overrides: list[str], number: int) -> _Point:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = str(number)
            config.hydra.job.num = number
        # the folders may refer to hydra.*, which only the current configuration resolves; set_config would copy it
        before = HydraConfig.instance().cfg
        HydraConfig.instance().cfg = config  # type: ignore[assignment]
        try:
            folder = Path(str(config.hydra.sweep.dir)) / str(config.hydra.sweep.subdir)
        finally:
            HydraConfig.instance().cfg = before
        state, settings = PointState.WAITING, None
        with contextlib.suppress(InputError, OmegaConfBaseException):
            settings = plain_settings(config)
            if same_point(folder, settings):
                state = point_state(folder)
        return _Point(overrides, config, folder, state, settings)

    def _run_here(self, point: _Point) -> JobReturn:
        return run_job(
            hydra_context=self.hydra_context,
            config=point.config,
            task_function=self.task_function,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


def _first_ones(points: Sequence[_Point]) -> list[int]:
    """Numbers of the points without those that are the same as one before them."""
    known: dict[Path, list[Any]] = {}
    found = []
    for i, point in enumerate(points):
        there = known.setdefault(point.folder, [])
        if point.settings not in there:
            found.append(i)
        there.append(point.settings)
    return found


def result_overrides(overrides: Sequence[str]) -> list[str]:
    """The overrides that change what is computed."""
    opened = {f"{key}=null" for key in OPEN_KEYS}  # by an accuracy, which tells it
    return [o for o in filter_overrides(overrides) if o not in opened and changes_result(o.lstrip("+").split("=")[0])]


def _announce(sweep: Path, points: Sequence[_Point]) -> None:
    """One line on what there is to do."""
    found = Counter(point.state for point in points)
    what = {
        PointState.DONE: "done already and skipped",
        PointState.CUT: "cut and resumed",
        PointState.FAILED: "failed and tried again",
    }
    notes = [f"{found[state]} {text}" for state, text in what.items() if found[state]]
    print(f"sweep {sweep}: {len(points)} points" + "".join(f", {note}" for note in notes), flush=True)


def _exit_status(folder: Path) -> int:
    """The exit status of a point from what is in its folder."""
    failure = read_failure(folder)
    if failure is not None:
        return int(failure.get("exit_status", 1))
    summary = read_summary(folder)
    if summary is None:
        return 0 if in_use(folder) else 3  # it is left to the process that runs it
    return 3 if Status(summary["status"]).ended_badly else 0


def _saved_return(point: _Point) -> JobReturn:
    """What Hydra would have got from a point that is done."""
    saved = JobReturn(overrides=point.overrides, cfg=point.config, status=JobStatus.COMPLETED)
    saved.return_value = objective(read_summary(point.folder) or {})
    return saved


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Worker processes started meanwhile compute with one thread each, unless the user's environment says otherwise."""
    added = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
