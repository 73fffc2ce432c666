"""What the commands say when something is wrong: one line that names the key, the rule and the value."""

from __future__ import annotations

import contextlib
import re
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from hydra.errors import OverrideParseException

from dlntorch.numerics.validation import DataWarning
from dlntorch.run.configuration import config_directory, group_options, known_keys, nearest, study_keys, unknown_key
from dlntorch.sweep.launcher import PLUGINS

__all__ = ["about", "defect", "hydra_message", "library_message", "mistake", "print_warning", "quiet"]


#: Which of many things the messages are about; empty where there is one.
_about: ContextVar[str] = ContextVar("about", default="")


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """While this is open, every error is said to be ``what``'s."""
    token = _about.set(f" ({' '.join(what.split())})")
    try:
        yield
    finally:
        _about.reset(token)


def mistake(message: str, debug: bool) -> int:
    """Say a user's mistake in one line on standard error; returns exit status 2."""
    if debug:
        traceback.print_exc()
    print(f"error: {_shortened(' '.join(message.split()))}{_about.get()}", file=sys.stderr)
    return 2


def _shortened(message: str) -> str:
    """The message without the middle of values that fill a screen."""
    return re.sub(r"\S{300,}", lambda word: f"{word[0][:120]}…{word[0][-40:]}", message)


def defect(error: Exception, debug: bool) -> int:
    """Say that the program has a defect, in one line; returns exit status 1."""
    if debug:
        traceback.print_exc()
    text = _shortened(" ".join(str(error).split()))
    what = f"{type(error).__name__}: {text}{_about.get()}"
    print(f"error: a defect, please report it: {what} (debug=true shows where)", file=sys.stderr)
    return 1


def library_message(error: Exception) -> str | None:
    """What a user asked of a library below us that it cannot do, in our words; None where it is a defect of ours."""
    text = " ".join(str(error).split())
    if 'Could not detect "srun"' in text:
        return "hydra/launcher=slurm must be used where SLURM's srun is, got a machine without it"
    if type(error).__name__ == "FailedJobError":  # submitit's
        return f"hydra/launcher=slurm must have an sbatch that takes jobs, which said: {text}"
    flags = re.match(r"Only one of (--.*) can be specified", text)
    if flags:
        return f"the command line must have one at most of {flags[1]}"
    return None


def print_warning(message: Warning | str, *_: Any) -> None:
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Show our own warnings, each on one line, and none of the libraries below us."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", DataWarning)
        warnings.showwarning = print_warning
        yield


def hydra_message(error: Exception) -> str:
    """Hydra's and OmegaConf's errors in our words: the key, the rule, the value."""
    text = " ".join(str(error).split())
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} must be KEY=VALUE that Hydra can parse, got {text.split(' See https')[0]}"
    unknown = re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", text)
    if unknown:
        key = unknown.group(1) or unknown.group(2)
        return unknown_key(key, known_keys(), study_keys(), "python -m dlntorch")
    option = re.search(r"Could not (?:find|load) '([\w/]+?)/([^'/]+)'", text)
    if option and option.group(1) in ("hydra/launcher", "hydra/sweeper"):
        group, name = option.groups()
        if name in PLUGINS:
            return f"{group} must have its plugin installed, got {name!r}: pip install {PLUGINS[name]}"
        return f"{group} must be one that is installed, got {name!r}{nearest(name, PLUGINS)}"
    if option and (config_directory() / option.group(1)).is_dir():
        group, name = option.groups()
        options = group_options(group)
        return f"{group} must be one of {', '.join(options)}, got {name!r}{nearest(name, options)}"
    merged = re.search(r"Error merging override \+*([^=]+)=(.*)", text)
    if merged:
        key, value = merged.groups()
        inner = [name for name in known_keys() if name.startswith(f"{key}.")]
        return f"{key} must be given key by key{f', such as {inner[0]}=…' if inner else ''}, got {value}"
    return text
