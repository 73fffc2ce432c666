"""``python -m dlntorch study=NAME``: what is composed, printed and returned.

Exit status 0: every claim is confirmed or undecided. 2: a user's mistake; one line ``error: …`` on standard error. 3: a
claim is not confirmed, or the study was interrupted (finished points are kept, and the same command continues). 1: a
defect of the program.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlntorch.cli.arguments import take_paths_as_typed, unquoted
from dlntorch.cli.help import asks_for_help, study_help
from dlntorch.cli.messages import defect, mistake
from dlntorch.numerics.validation import InputError, check_count, check_flag
from dlntorch.run.configuration import config_directory, known_keys, nearest, study_keys, unknown_key
from dlntorch.store.folder import WriteError
from dlntorch.system.streams import unfailing_streams

if TYPE_CHECKING:
    from dlntorch.studies import StudyResult

__all__ = ["main"]

#: The command that has the keys which this one has not.
TRAIN_COMMAND = "python train.py"


def main(arguments: Sequence[str]) -> int:
    """Run the command with these arguments; returns the exit status."""
    with unfailing_streams():
        return _main(arguments)


def _main(arguments: Sequence[str]) -> int:
    if asks_for_help(arguments):
        print(study_help(arguments))
        return 0
    debug = any(_is_debug(argument) for argument in arguments)
    try:
        return _run(take_paths_as_typed(arguments, sweep=False))
    except InputError as error:
        return mistake(str(error), debug)
    except OSError as error:
        path = str(error.path) if isinstance(error, WriteError) else error.filename or ""
        why = (
            error.__cause__ if isinstance(error, WriteError) else error
        )  # a WriteError names its path in its own words
        why = getattr(why, "strerror", None) or why
        key = "sweep" if "study=collect" in arguments else "folder"
        return mistake(f"{key} must be a folder that can be written, got {path!r} ({why})", debug)
    except KeyboardInterrupt:
        print("interrupted; finished points are kept, and the same command continues", file=sys.stderr)
        return 3
    except Exception as error:
        return defect(error, debug)


def _is_debug(argument: str) -> bool:
    return argument.replace(" ", "") in ("debug=true", "debug=True")


def _run(arguments: list[str]) -> int:
    from dlntorch.studies import run_studies, studies_of_all, study_names, study_settings

    _check_command(arguments)
    chosen = _chosen_study(arguments)
    if chosen == "collect":
        return _collect(arguments)
    if chosen == "list":
        _list(study_names())
        return 0
    _check_drawing(chosen)
    config, changes = _compose(arguments, chosen)
    small = check_flag("study.small", config["study"]["small"])
    fresh = check_flag("fresh", config["fresh"])
    workers = _workers(config["workers"])
    root = Path(str(config["folder"]))
    if chosen != "all" and chosen not in studies_of_all():
        workers = 1  # a study of timings
    names = studies_of_all() if chosen == "all" else (chosen,)
    settings = {name: study_settings(name, small, changes) for name in names}
    folders = {name: root / name for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries below us; studies report through their rows
        with _Display(settings) as display:
            results = run_studies(
                settings, folders, workers=workers, fresh=fresh, progress=display.progress, finished=display.finished
            )
    if chosen == "all":
        from dlntorch.report.study_index import write_index

        print(f"index: {write_index(results, root)}")
    return 3 if any(result.count(_not_confirmed()) for result in results) else 0


def _collect(arguments: Sequence[str]) -> int:
    """``study=collect sweep=FOLDER``."""
    others = [argument for argument in arguments if not (argument.startswith("study=") or _is_debug(argument))]
    _check_drawing("collect")
    if len(others) != 1 or not others[0].startswith("sweep="):
        raise InputError(f"study=collect must have sweep=FOLDER and nothing else, got {' '.join(others) or 'nothing'}")
    from dlntorch.report.sweep import write_sweep_report

    for path in write_sweep_report(unquoted(others[0].removeprefix("sweep="))):
        print(path)
    return 0


def _check_drawing(study: str) -> None:
    """Refuse before anything is computed what could not be shown."""
    from dlntorch.report import INSTALL, can_draw

    if not can_draw():
        raise InputError(f"study must have matplotlib installed for its figures, got study={study}: {INSTALL}")


def _not_confirmed() -> Any:
    from dlntorch.studies import Verdict

    return Verdict.NOT_CONFIRMED


def _workers(value: Any) -> int:
    import os

    if value is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return check_count("workers", value)


def _check_command(arguments: Sequence[str]) -> None:
    """Send who sets keys of the main job, and asks for no study, to the command that has them."""
    keys = [argument.split("=", 1)[0].lstrip("+~") for argument in arguments if "=" in argument]
    for key in keys if "study" not in keys else ():
        if key not in study_keys() and key in known_keys():
            raise InputError(unknown_key(key, study_keys(), known_keys(), TRAIN_COMMAND))


def _chosen_study(arguments: Sequence[str]) -> str:
    from dlntorch.studies import study_names

    named = [argument.split("=", 1)[1].strip("'\"") for argument in arguments if argument.startswith("study=")]
    options = (*study_names(), "all", "list", "collect")
    rule = f"study must be one of {', '.join(options)}"
    if not named:
        raise InputError(f"{rule}, got none; for example study={options[0]}")
    if named[-1] not in options:
        raise InputError(f"{rule}, got {named[-1]!r}{nearest(named[-1], options)}")
    return named[-1]


def _list(names: Sequence[str]) -> None:
    from dlntorch.studies import load_study

    width = max(map(len, names))
    for name in names:
        print(f"{name:<{width}}  {load_study(name).summary}")
    print(f"{'all':<{width}}  every study above but benchmark, with an index page")


def _compose(arguments: list[str], chosen: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The composed configuration, and the study's settings that the command line names."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for argument in arguments:
        if argument.startswith("-") or "=" not in argument:
            raise InputError(f"{argument!r} must be KEY=VALUE; --help shows the keys")
        if argument.lstrip("+~").startswith("hydra"):  # composed, but nothing would read it
            raise InputError(
                f"{argument.split('=')[0]} must be left out: a study's place is folder=, its processes workers="
            )
    try:
        with initialize_config_dir(config_dir=str(config_directory()), version_base="1.3"):
            composed = compose("study", overrides=arguments)
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(_in_our_words(error, arguments, chosen)) from None
    assert isinstance(plain, dict)
    config = {str(key): value for key, value in plain.items()}
    known = _root_keys()
    for key in config:
        if key not in known:
            raise InputError(unknown_key(key, known, known_keys(), TRAIN_COMMAND))
    named = {argument.split("=", 1)[0].lstrip("+~") for argument in arguments}
    inner = [key.removeprefix("study.").split(".")[0] for key in named if key.startswith("study.")]
    if any(key == "small_version" for key in inner):
        raise InputError("study.small_version must be left as it is; set the keys themselves")
    return config, {key: config["study"][key] for key in inner if key != "small" and key in config["study"]}


def _root_keys() -> list[str]:
    import yaml

    return [key for key in yaml.safe_load((config_directory() / "study.yaml").read_text()) if key != "defaults"] + [
        "study"
    ]


def _in_our_words(error: Exception, arguments: Sequence[str], chosen: str) -> str:
    """The unknown key and the nearest right one, or Hydra's message on one line."""
    import yaml

    keys = yaml.safe_load((config_directory() / "study" / f"{chosen}.yaml").read_text())
    known = [*_root_keys(), *(f"study.{key}" for key in keys if key != "small_version")]
    text = " ".join(str(error).split())
    for argument in arguments:
        key = argument.split("=", 1)[0]
        if key not in known and (f"'{key}'" in text or f"'{key.split('.')[-1]}'" in text):
            return unknown_key(key, known, known_keys(), TRAIN_COMMAND)
    return text.split(" See https")[0]


class _Display:
    """A progress bar for each study, and what is printed as each is finished."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self.console = Console(highlight=False)
        if not self.console.is_terminal:
            self.console = Console(highlight=False, width=150)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.bars = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self.tasks = {name: self.bars.add_task(name, total=None) for name in settings}

    def __enter__(self) -> _Display:
        self.bars.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.bars.stop()

    def progress(self, name: str, done: int, total: int) -> None:
        self.bars.update(self.tasks[name], completed=done, total=total)

    def finished(self, result: StudyResult) -> None:
        from dlntorch.report.study_page import write_study_report

        page = write_study_report(result)
        self.console.print(verdict_table(result))
        kept = result.points - result.computed
        reused = f", {kept} of {result.points} points were there already" if kept else ""
        self.console.print(f"{result.name}: {result.seconds:.1f} s of computing{reused}; page: {page}", soft_wrap=True)


def verdict_table(result: StudyResult) -> Any:
    """The table of verdicts, for the terminal."""
    from dlntorch.run.terminal_table import table_of
    from dlntorch.studies.runner import shown_side

    cells = [
        (one.claim, shown_side(one.predicted), shown_side(one.measured), str(one.verdict)) for one in result.claims
    ]
    heads = ("claim", "predicted", "measured", "verdict")
    return table_of(f"{result.name}: {result.study.summary}", heads, cells, numbers=(1, 2))
