"""The command line's outer shell: one-line errors, exit statuses, and what is printed before and after a run.

Exit status 0: converged, or a budget was used up. 2: a user's mistake; one line ``error: …`` on standard error. 3: the
run ended badly (diverged, left the positive orthant, interrupted), and everything is kept; or no run has the accuracy
that was asked, and nothing is trained. 1: a defect of the program.
Under ``-m`` the largest status of all points is the exit status (:mod:`dlntorch.cli.sweep_command`). What is printed never
ends what is computed (:mod:`dlntorch.system.streams`).
"""

from __future__ import annotations

import atexit
import gc
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlntorch.cli.arguments import is_sweep, options_first, redirect_resumed_run, take_paths_as_typed
from dlntorch.cli.drawing import draw_ensemble, draw_matrix, draw_run
from dlntorch.cli.help import asks_for_help, train_help
from dlntorch.cli.messages import defect, hydra_message, library_message, mistake, print_warning, quiet
from dlntorch.cli.next_steps import print_next_steps
from dlntorch.cli.resuming import compare_runs, repeated_settings, resumed_settings, write_comparison
from dlntorch.cli.sweep_command import run_packs, sweep_point, sweep_point_settings
from dlntorch.cli.sweep_end import conclude_sweeps
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError, NoPlan, check_count, check_flag
from dlntorch.run.configuration import (
    append_open_keys,
    check_complete,
    check_group_choices,
    check_keys,
    choose_own_nouns,
    choose_problem_file,
    is_factorization,
    name_solver,
)
from dlntorch.store.folder import CheckpointError, FolderInUse, WriteError, drop_if_empty
from dlntorch.store.inputs import absolute_inputs
from dlntorch.sweep.launcher import IdempotentLauncher, idempotent_launchers, plain_settings, register_resolvers
from dlntorch.sweep.points import objective
from dlntorch.system.streams import unfailing_streams

__all__ = ["end_process", "exit_status_of", "run_point"]

register_resolvers()  # worker processes of a launcher import this module too

#: Exit statuses of the points that this process ran.
_outcomes: list[int] = []


def exit_status_of(task: Callable[..., Any]) -> int:
    """Run a Hydra task function; every mistake becomes one line and an exit status."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting with status 1
    debug = any(argument.replace(" ", "") in ("debug=true", "debug=True") for argument in sys.argv[1:])
    with unfailing_streams():
        return _run_task(task, debug)


def _run_task(task: Callable[..., Any], debug: bool) -> int:
    launchers: list[IdempotentLauncher] = []
    try:
        if asks_for_help(sys.argv[1:]):
            print(train_help(sys.argv[1:]))
            return 0
        sys.argv[1:] = options_first(sys.argv[1:])
        redirect_resumed_run()
        check_group_choices(sys.argv[1:])
        choose_problem_file(sys.argv)
        choose_own_nouns(sys.argv)
        name_solver(sys.argv)
        append_open_keys(sys.argv)
        sys.argv[1:] = take_paths_as_typed(sys.argv[1:], is_sweep())
        with idempotent_launchers(_outcomes, run_packs) as launchers:
            task()
        conclude_sweeps(launchers)
    except InputError as error:
        return mistake(str(error), debug)
    except (HydraException, OmegaConfBaseException) as error:
        return mistake(hydra_message(error), debug)
    except OSError as error:
        where = f" {error.filename!r}" if error.filename else ""
        return mistake(
            f"hydra.run.dir must be a folder that can be written, got{where} ({error.strerror or error})", debug
        )
    except KeyboardInterrupt:
        if is_sweep():
            conclude_sweeps(launchers)
            print("interrupted: the same command goes on where this sweep was cut", file=sys.stderr)
        else:
            print("interrupted before training began; nothing was written", file=sys.stderr)
        return 3
    except Exception as error:
        known = library_message(error)
        return defect(error, debug) if known is None else mistake(known, debug)
    return max(_outcomes, default=0)


def end_process(status: int, script: str) -> NoReturn:
    """End the process with an exit status; at once where it was started to run ``script``.

    Python would take its modules apart first, which after Lightning takes two seconds, for memory that the system frees
    anyway. Whoever runs the script inside a process of theirs gets a plain ``SystemExit``, and so does a sweep, whose
    launcher may have worker processes that Python sends home before it runs the exit functions.
    """
    if not is_sweep() and len(sys.orig_argv) > 1 and Path(sys.orig_argv[1]).resolve() == Path(script).resolve():
        with unfailing_streams():  # and flush them
            atexit._run_exitfuncs()
        os._exit(status)
    sys.exit(status)


def run_point(config: DictConfig) -> float | None:
    """Run one point of a sweep, or the only one; returns its distance to W_p (for sweepers), where it has one."""
    gc.enable()  # train.py has imported what it needs
    folder, value = _folder(config), None
    with unfailing_streams():  # of a launcher's worker processes too
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            outcome, value = sweep_point(config, folder, _run_and_report)
        else:
            outcome, _, _ = _run_and_report(config, folder)
    _outcomes.append(outcome)
    return value


def _folder(config: DictConfig) -> Path:
    """Where the run is written."""
    resumed = config.get("resume")
    if HydraConfig.get().mode is RunMode.RUN and isinstance(resumed, str) and resumed != "auto":
        return Path(resumed)
    # not resolved: it is a name, in which Hydra would look for interpolations
    runtime: Any = OmegaConf.to_container(HydraConfig.get().runtime, resolve=False)
    return Path(runtime["output_dir"])


def _run_and_report(config: DictConfig, folder: Path, resume: bool = False) -> tuple[int, float | None, str]:
    """Run; returns the exit status, what sweepers minimise, and the message where it ended in an error."""
    debug = bool(config.get("debug", False))
    try:
        return *_run(config, folder, resume), ""
    except FolderInUse as error:
        if HydraConfig.get().mode is not RunMode.MULTIRUN:
            return mistake(str(error), debug), None, ""
        print(f"{folder.name} is being run by another process, and is left to it", flush=True)
        return 0, None, ""
    except InputError as error:
        drop_if_empty(folder)
        return mistake(str(error), debug), None, str(error)
    except NoPlan as error:  # the accuracy cannot be had: nothing is trained
        drop_if_empty(folder)
        mistake(str(error), debug)
        return 3, None, str(error)
    except OmegaConfBaseException as error:
        drop_if_empty(folder)
        return mistake(hydra_message(error), debug), None, hydra_message(error)
    except WriteError as error:
        command = shlex.quote(f"resume={folder}")
        message = f"{error}; what was written before it is kept: make room, then continue with {command}"
        mistake(message, debug)
        return 3, None, message
    except KeyboardInterrupt:
        drop_if_empty(folder)
        if HydraConfig.get().mode is RunMode.MULTIRUN:  # Ctrl-C ends the sweep, not one point of it
            raise
        print("interrupted outside of training; what was written is kept", file=sys.stderr)
        return 3, None, "interrupted"
    except Exception as error:
        return defect(error, debug), None, f"{type(error).__name__}: {error}"


def _run(config: DictConfig, folder: Path, resume: bool) -> tuple[int, float | None]:
    settings = plain_settings(config, throw_on_missing=True)
    settings.pop("experiment", None)
    check_keys(settings)
    check_complete(settings)
    if _served_as_shard(settings["trainer"]["shards"], folder):
        return 0, None
    if HydraConfig.get().job.chdir:  # files are named from where the command was given
        settings = absolute_inputs(settings, HydraConfig.get().runtime.cwd)
    sweep = HydraConfig.get().mode is RunMode.MULTIRUN
    settings = sweep_point_settings(settings, config, folder, resume) if sweep else _run_settings(settings, folder)
    check_keys(settings)  # those of a saved configuration too
    check_complete(settings)
    _check_switches(settings)
    with quiet():
        from dlntorch.run import plan_run
        from dlntorch.run.asked_accuracy import foretold
        from dlntorch.run.console import plan_table
        from dlntorch.run.members import is_ensemble

        may_start_anew = sweep or config["resume"] == "auto"
        if is_ensemble(settings):
            if is_factorization(settings):
                raise InputError("ensemble must be left out with model=factorization: sweep with -m instead")
            if settings["accuracy"] is not None:
                raise InputError(f"accuracy must be left out with an ensemble, got {settings['accuracy']!r}")
            if settings["trainer"]["shards"] != 1:
                raise InputError(f"trainer.shards must be 1 with an ensemble, got {settings['trainer']['shards']}")
            outcome = _run_ensemble(settings, folder, sweep, may_start_anew)
            return max(outcome, _compared(settings, config["repeat"], folder)), None
        if is_factorization(settings):
            result = _run_matrix(settings, folder, may_start_anew)
        else:
            settings, planned = _planned(settings, config, folder)
            if settings["dry_run"]:
                plan_table(foretold(plan_run(settings), planned), settings)
            else:
                result = _run_one(settings, folder, may_start_anew, planned)
        if settings["dry_run"]:
            drop_if_empty(folder)
            return 0, None
        if not sweep:
            print_next_steps(result)
    if result.status is Status.INTERRUPTED and sweep:
        raise KeyboardInterrupt  # the signal was meant for the sweep
    outcome = max(3 if result.status.ended_badly else 0, _compared(settings, config["repeat"], folder))
    return outcome, objective(result.summary)


def _check_switches(settings: Mapping[str, Any]) -> None:
    """Refuse what is neither true nor false: Hydra reads ``no`` as a word, and every word would count as true."""
    for name in ("dry_run", "debug"):
        check_flag(name, settings[name])
    check_flag("callbacks.figures", settings["callbacks"]["figures"])
    if settings["pack"] not in ("auto", True, False):
        raise InputError(f"pack must be auto, true or false, got {settings['pack']!r}")


def _run_settings(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The settings of a single run: its own, or those saved in the folder that it resumes or repeats."""
    overrides = HydraConfig.get().overrides.task
    if settings["repeat"] is not None:
        if settings["resume"] is not None:
            raise InputError(f"resume must be left out with repeat, got {settings['resume']!r}")
        return repeated_settings(settings, overrides, folder)
    if settings["resume"] == "auto":
        settings["resume"] = str(folder)
    elif settings["resume"] is not None:
        return resumed_settings(settings, overrides)
    return settings


def _compared(settings: Mapping[str, Any], repeated: str | None, folder: Path) -> int:
    """Say and write what a repeated run has otherwise than the first; 3 where that is anything."""
    if repeated is None or settings["dry_run"]:
        return 0
    comparison = compare_runs(Path(repeated), folder)
    write_comparison(folder, comparison)
    print(comparison)
    return 3 if comparison.different else 0


def _planned(
    settings: dict[str, Any], config: DictConfig, folder: Path
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The settings with what ``accuracy`` chooses, and the record of that plan, which is printed; None without one."""
    if settings["accuracy"] is None:
        return settings, None
    from dlntorch.run.asked_accuracy import planned_settings
    from dlntorch.run.console import announce_accuracy

    named = next((config[key] for key in ("resume", "repeat") if config[key] not in (None, "auto")), None)
    source = settings["resume"] if named is None else named
    settings, planned = planned_settings(settings, None if source is None else Path(source), chosen=named is not None)
    announce_accuracy(planned, settings["dry_run"])
    return settings, planned


def _run_one(
    settings: dict[str, Any], folder: Path, may_start_anew: bool, planned: Mapping[str, Any] | None = None
) -> Any:
    from dlntorch.run import run_experiment
    from dlntorch.run.asked_accuracy import foretold
    from dlntorch.run.background_plan import BackgroundPlan
    from dlntorch.run.console import announce, conclude

    with BackgroundPlan(settings) as background:
        make_plan = lambda *given, **known: foretold(background(*given, **known), planned)  # noqa: E731
        run = partial(
            run_experiment, folder=folder, announce=announce, draw=draw_run, make_plan=make_plan, planned=planned
        )
        result = _resumed_or_anew(run, settings, may_start_anew)
    conclude(result)
    return result


def _run_matrix(settings: dict[str, Any], folder: Path, may_start_anew: bool) -> Any:
    """A run of a factorization, on a problem of matrices."""
    from dlntorch.run.matrix_console import announce_matrix, conclude_matrix, matrix_plan_table
    from dlntorch.run.matrix_plan import plan_matrix
    from dlntorch.run.matrix_run import run_matrix_experiment

    if settings["dry_run"]:
        matrix_plan_table(plan_matrix(settings))
        return None
    run = partial(run_matrix_experiment, folder=folder, announce=announce_matrix, draw=draw_matrix)
    result = _resumed_or_anew(run, settings, may_start_anew)
    conclude_matrix(result)
    return result


def _resumed_or_anew(run: Callable[[dict[str, Any]], Any], settings: dict[str, Any], may_start_anew: bool) -> Any:
    """Run; a run that goes on by itself starts anew where its checkpoint is of no use."""
    try:
        return run(settings)
    except CheckpointError as error:
        if not may_start_anew:
            raise
        print_warning(f"{error}: this run starts anew")
        return run({**settings, "resume": None})


def _run_ensemble(settings: dict[str, Any], folder: Path, sweep: bool, may_start_anew: bool) -> int:
    """Several networks in one run; see ``ensemble`` in ``conf/train.yaml``."""
    from dlntorch.run import plan_ensemble, run_ensemble_experiment
    from dlntorch.run.ensemble_console import announce_ensemble, conclude_ensemble, ensemble_plan_table

    if settings["dry_run"]:
        ensemble_plan_table(plan_ensemble(settings), settings)
        drop_if_empty(folder)
        return 0
    run = partial(run_ensemble_experiment, folder=folder, announce=announce_ensemble, draw=draw_ensemble)
    result = _resumed_or_anew(run, settings, may_start_anew)
    conclude_ensemble(result)
    if not sweep:
        print_next_steps(result)
    if result.status is Status.INTERRUPTED and sweep:
        raise KeyboardInterrupt  # the signal was meant for the sweep
    return 3 if result.status.ended_badly else 0


def _served_as_shard(shards: Any, folder: Path) -> bool:
    """Whether this process was started by torchrun or srun to hold some columns; it has served its run then."""
    if shards == 1:
        return False
    from dlntorch.engine.processes import external_rank, worker

    if external_rank(check_count("trainer.shards", shards)) in (None, 0):
        return False
    drop_if_empty(folder)
    worker()
    return True
