"""Which studies there are, and their settings."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from dlntorch.numerics.validation import InputError, check_flag
from dlntorch.run.configuration import config_directory, nearest
from dlntorch.studies.base import Study

__all__ = ["load_study", "settings_file", "studies_of_all", "study_names", "study_settings"]

#: The order in which they are listed and run: the paper's figures, then what this package adds.
_ORDER = (
    "figure1",
    "figure2",
    "figure3",
    "rates",
    "selection",
    "depth",
    "conditioning",
    "discretization",
    "rank",
    "finite_time",
    "gha",
    "models",
    "sgd",
    "recovery",
    "saddles",
    "steps",
    "shapes",
    "warm_start",
    "lasso",
    "plan",
    "nuclear",
    "groups",
    "matrix_gha",
    "reproduce",
    "benchmark",
)
#: Not among ``study=all``: timings mean nothing while other studies run beside them, and these take many minutes.
_ALONE = ("benchmark", "plan", "nuclear", "groups", "matrix_gha", "reproduce")


def study_names() -> tuple[str, ...]:
    """The studies that have both a module and a file of settings."""
    here = Path(__file__).parent
    names = {
        path.stem
        for path in (config_directory() / "study").glob("*.yaml")
        if (here / path.name).with_suffix(".py").is_file()
    }
    return tuple(sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)))


def studies_of_all() -> tuple[str, ...]:
    """The studies that ``study=all`` runs."""
    return tuple(name for name in study_names() if name not in _ALONE)


def _check_name(name: str) -> str:
    if name not in study_names():
        raise InputError(f"study must be one of {', '.join(study_names())}, got {name!r}{nearest(name, study_names())}")
    return name


def load_study(name: str) -> Study:
    """The study of that name.

    Raises:
        InputError: there is none.
    """
    return import_module(f"dlntorch.studies.{_check_name(name)}").STUDY


def settings_file(name: str) -> Path:
    """The study's file of settings."""
    return config_directory() / "study" / f"{_check_name(name)}.yaml"


def study_settings(name: str, small: bool = False, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings of a study: its file, then ``small_version`` if ``small``, then ``changes``.

    Raises:
        InputError: no such study, or a key that its file does not have.
    """
    from omegaconf import OmegaConf  # as Hydra reads it: 1e-3 is a number

    settings: Any = OmegaConf.to_container(OmegaConf.load(settings_file(name)))
    replaced = settings.pop("small_version")
    if check_flag("study.small", small):
        settings.update(replaced, small=True)
    for key, value in (changes or {}).items():
        if key not in settings:
            keys = [f"study.{k}" for k in settings]
            raise InputError(f"unknown key 'study.{key}'{nearest(f'study.{key}', keys)}")
        settings[key] = value
    return settings
