"""What the groups ``model``, ``optimizer`` and ``schedule`` and the keys of the start mean, as objects.

A group has a name of the package with its options, or a ``_target_``: the import path of a class or function of anybody's.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from dlntorch.model import Initialization, Nonnegative, Parametrization, Product
from dlntorch.numerics.validation import InputError, check_choice
from dlntorch.optim.update import TorchUpdate, Update
from dlntorch.run.members import KEYS, entry_by_entry

__all__ = ["MODELS", "initialization_of", "model_of", "optimizer_of", "options_of", "schedule_of", "with_numbers"]

#: The names of ``model=``.
MODELS = ("power", "product", "nonnegative")


def options_of(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group's keys beside its name and target."""
    return {} if group.get("_target_") else {k: v for k, v in group.items() if k not in ("name", "_target_")}


def model_of(group: Mapping[str, Any], p: Any) -> Any:
    """What ``model=`` and ``p=`` mean: a depth, or a parametrization."""
    _check_target("model", group)
    if group.get("_target_"):
        made = _made("model", group)
        if not isinstance(made, Parametrization):
            raise InputError(f"model._target_ must make a Parametrization, got {type(made).__name__}")
        return made
    name = check_choice("model", group["name"], MODELS) or group["name"]
    if name == "product":
        return Product(p if group.get("layers") is None else group["layers"])
    return Nonnegative(p) if name == "nonnegative" else p


def optimizer_of(group: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What ``optimizer=`` means: a name with its options, or an object without any."""
    _check_target("optimizer", group)
    target = group.get("_target_")
    if not target:
        return group["name"], options_of(group)
    found = _found("optimizer", target)
    if isinstance(found, type) and issubclass(found, Update):
        return _made("optimizer", group), {}
    options = _given(group)
    return TorchUpdate(partial(found, **options), str(target), options), {}


def schedule_of(group: Mapping[str, Any]) -> Any:
    """What ``schedule=`` means: a name, or a step size."""
    _check_target("schedule", group)
    return _made("schedule", group) if group.get("_target_") else group["name"]


def initialization_of(alpha: Any, alpha_minus: Any) -> Any:
    """What ``alpha=`` and ``alpha_minus=`` mean: one number, or an initialization; each may be a list or a file.

    Raises:
        InputError: for a file that cannot be read as a vector of numbers.
    """
    plus = _vector("alpha", alpha)
    if alpha_minus is None:
        return plus if not isinstance(plus, list) else Initialization(plus)
    return Initialization(plus, _vector("alpha_minus", alpha_minus))


def with_numbers(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the numbers of starts in the place of the files that have them: it is then on its own.

    Raises:
        InputError: for a file that cannot be read as a vector of numbers.
    """
    files = {key: config.get(key) for key in ("alpha", "alpha_minus")}
    numbers = {key: _vector(key, value) for key, value in files.items() if isinstance(value, str)}
    ensemble = config.get("ensemble")
    if isinstance(ensemble, Mapping) and "alpha" in ensemble:
        numbers["ensemble"] = {**ensemble, "alpha": _of_networks(ensemble)}
    return {**config, **numbers}


def _of_networks(ensemble: Mapping[str, Any]) -> Any:
    """``ensemble.alpha`` with numbers in the place of files; a file alone is one start, which all networks have."""
    alpha = ensemble.get("alpha")
    if isinstance(alpha, str):
        others = {key: ensemble[key] for key in KEYS if key != "alpha" and ensemble.get(key) is not None}
        return [_vector("ensemble.alpha", alpha)] * len(entry_by_entry(others))
    if not isinstance(alpha, (list, tuple)):
        return alpha
    return [_vector("ensemble.alpha", one) if isinstance(one, str) else one for one in alpha]


def _vector(name: str, value: Any) -> Any:
    """A number as it is, a list, or the numbers of a .npy, .csv or .txt file."""
    if not isinstance(value, str):
        return list(value) if isinstance(value, (list, tuple)) else value
    import numpy as np

    path = Path(value).expanduser()
    try:
        if path.suffix == ".npy":
            found = np.load(path, allow_pickle=False)
        else:
            found = np.loadtxt(path, delimiter="," if path.suffix == ".csv" else None, ndmin=1)
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())
        raise InputError(f"{name} must be a number, a list or a file of numbers, got {value!r} ({why})") from None
    return np.ravel(found).tolist()


def _check_target(name: str, group: Mapping[str, Any]) -> None:
    if group["name"] == "own" and not group.get("_target_"):
        raise InputError(f"{name}._target_ must be given with {name}=own: the import path of a class, got None")


def _given(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key not in ("name", "_target_")}


def _found(name: str, target: Any) -> Any:
    """The object at an import path."""
    from hydra.utils import get_object

    log = logging.getLogger(get_object.__module__)
    silent, log.disabled = log.disabled, True  # it would say in three lines what is said here in one
    try:
        return get_object(str(target))
    except Exception as error:  # of somebody's module, at its import
        why = " ".join(str(error).split())
        raise InputError(f"{name}._target_ must be the import path of an object, got {target!r} ({why})") from None
    finally:
        log.disabled = silent


def _made(name: str, group: Mapping[str, Any]) -> Any:
    """What the target makes of the group's other keys."""
    made = _found(name, group["_target_"])
    if not isinstance(made, type):
        options = _given(group)
        return partial(made, **options) if options else made
    try:
        return made(**_given(group))
    except TypeError as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"{name} must have the keys that {group['_target_']} takes, got {_given(group)} ({why})"
        ) from None
