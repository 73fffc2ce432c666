"""What differs between the networks of an ensemble: lists that go together entry by entry, single values for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlntorch.numerics.validation import InputError, check_unmasked
from dlntorch.problem import Problem

__all__ = ["KEYS", "check_one_shape", "entry_by_entry", "is_ensemble", "network_configs"]

#: The keys of ``ensemble`` that vary a network, and the key of a single run's configuration that each stands for.
KEYS = {
    "p": ("p",),
    "alpha": ("alpha",),
    "seed": ("seed",),
    "problem_seed": ("problem", "seed"),
    "problem_path": ("problem", "path"),
    "beta": ("optimizer", "beta"),
    "sigma": ("optimizer", "sigma"),
    "strength": ("optimizer", "strength"),
    "rho": ("optimizer", "rho"),
}


def entry_by_entry(given: Mapping[str, Any], what: str = "ensemble") -> list[dict[str, Any]]:
    """One dictionary for each network: sequences are taken entry by entry, single values belong to all.

    Args:
        given: Values by name: a sequence (list, tuple, one-dimensional array or tensor), or anything else for one value.
        what: Whose sequences they are, for messages.

    Raises:
        InputError: for sequences of different lengths, and for empty ones.
    """
    for name, value in given.items():
        check_unmasked(name, value)
    values = {name: _listed(value) for name, value in given.items()}
    lengths = {name: len(value) for name, value in values.items() if isinstance(value, list)}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise InputError(f"{what} must have lists of one length (they go together entry by entry), got {shown}")
    count = next(iter(lengths.values()), 1)
    if count == 0:
        raise InputError(f"{what} must have at least one network, got empty lists: {', '.join(lengths)}")
    return [{name: value[i] if name in lengths else value for name, value in values.items()} for i in range(count)]


def _listed(value: Any) -> Any:
    """A sequence as a list; a single value as it is."""
    if isinstance(value, (str, bytes, Mapping, Problem)):
        return value
    if hasattr(value, "tolist"):  # arrays, tensors and their scalars
        return value.tolist()
    return list(value) if isinstance(value, (Sequence, range)) else value


def is_ensemble(config: Mapping[str, Any]) -> bool:
    """Whether a configuration asks for several networks in one run."""
    asked = config.get("ensemble") or {}
    return any(asked.get(key) is not None for key in KEYS)


def network_configs(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The configuration of every network of an ensemble, as a single run would have it.

    Raises:
        InputError: for lists of different lengths, and for both a seed and a file of the problem.
    """
    asked = {key: config["ensemble"][key] for key in KEYS if config["ensemble"].get(key) is not None}
    if "problem_seed" in asked and ("problem_path" in asked or config["problem"].get("path") is not None):
        raise InputError(
            f"ensemble.problem_seed must be left out where the problem is read from a file, got {asked['problem_seed']!r}"
        )
    for key in asked:
        group, name = KEYS[key][0], KEYS[key][-1]
        if group == "optimizer" and name not in config["optimizer"]:
            raise InputError(
                f"ensemble.{key} must be left out with optimizer={config['optimizer'].get('name')}, which has no {name}, "
                f"got {asked[key]!r}"
            )
    configs = []
    for one in entry_by_entry({f"ensemble.{key}": value for key, value in asked.items()}):
        groups = {group: dict(config[group]) for group in ("problem", "optimizer")}
        member = {**config, **groups, "ensemble": dict.fromkeys(config["ensemble"])}
        for key in asked:
            *group, name = KEYS[key]
            (member[group[0]] if group else member)[name] = one[f"ensemble.{key}"]
        configs.append(member)
    return configs


def check_one_shape(problems: Sequence[Problem]) -> None:
    """Refuse problems of different shapes: the results of an ensemble are arrays with one row for each network."""
    shapes = sorted({(problem.m, problem.n) for problem in problems})
    if len(shapes) > 1:
        raise InputError(f"ensemble must have problems of one shape (m, n), got {shapes[0]} and {shapes[1]}")
