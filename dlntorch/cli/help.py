"""``--help`` of both commands: what each key means, from the comments in ``conf/``, and the groups that the command takes."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence

from dlntorch.numerics.validation import InputError
from dlntorch.run.configuration import nearest
from dlntorch.run.explained_keys import Choice, Key, chosen_by_default, explain_group, root_keys

__all__ = ["asks_for_help", "study_help", "train_help"]

#: Lines are not made longer than this on wide terminals, nor shorter than that on narrow ones.
WIDEST, NARROWEST = 120, 50
#: The names of keys take so much of a line at most; the meaning of longer ones begins below them.
NAMES = 30
USAGE = 52

TRAIN = (
    "Trains one diagonal linear network psi = theta_plus^p - theta_minus^p by plain SGD on ||A psi - y||^2 / 2, compares "
    "where it ends with what theory says, and writes it all into a run folder."
)
TRAIN_USAGE = (
    ("python train.py [KEY=VALUE ...]", "one run"),
    ("python train.py -m KEY=VALUE,VALUE ...", "a sweep over all combinations; the same command goes on with it"),
    ("python train.py resume=FOLDER", "goes on with a run"),
    ("python train.py GROUP=CHOICE --help", "the keys of that choice"),
    ("python -m dlntorch --help", "studies, and the table and page of a sweep"),
)
TRAIN_END = (
    "Of Hydra: hydra.run.dir=FOLDER is where a run is written, hydra.sweep.dir=FOLDER where a sweep is; "
    "hydra/launcher=joblib or slurm runs a sweep's points elsewhere, hydra/sweeper=optuna searches; --cfg job prints the "
    "configuration."
)
STUDY = "Runs a study: a question about these networks, with claims, predictions, measurements and verdicts on a page."
STUDY_USAGE = (
    ("python -m dlntorch study=NAME [study.KEY=VALUE ...]", "one study; study=all runs all of them"),
    ("python -m dlntorch study=NAME --help", "the keys of that study"),
    ("python -m dlntorch study=list", "names the studies"),
    (
        "python -m dlntorch study=collect sweep=FOLDER",
        "gathers the points of a sweep of train.py into one table and page, also while it runs",
    ),
    ("python -m dlntorch train p=3 alpha=1e-3", "the main job, which train.py is in a checkout"),
    ("python train.py --help", "training one network, and sweeps"),
)
KEYS = "Keys, each with its default:"


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for it."""
    return any(argument in ("-h", "--help") for argument in arguments)


def train_help(arguments: Sequence[str], width: int | None = None) -> str:
    """The help of ``train.py``; of each group the keys of the choice that the arguments name.

    Raises:
        InputError: for a choice that its group does not have.
    """
    width = _width(width)
    named = _named(arguments)
    usage = "usage:\n" + _columns(TRAIN_USAGE, width, USAGE)
    parts = [_filled(TRAIN, width), usage, _section(KEYS, root_keys(), width)]
    parts.append(_filled("Groups: a choice is made by name (problem=sparse), its keys are set with a dot.", width))
    for group, default in chosen_by_default().items():
        asked = named.get(group, default)
        choices = {choice.name: choice for choice in explain_group(group)}
        if asked is not None and asked not in choices:
            raise InputError(f"{group} must be one of {', '.join(choices)}, got {asked!r}{nearest(asked, choices)}")
        parts.append(_group(group, default, choices, asked, width))
    return "\n\n".join([*parts, _filled(TRAIN_END, width)])


def study_help(arguments: Sequence[str], width: int | None = None) -> str:
    """The help of ``python -m dlntorch``, or of the study that the arguments name."""
    width = _width(width)
    named = _named(arguments)
    choices = {choice.name: choice for choice in explain_group("study")}
    keys = _section(KEYS, root_keys("study"), width)
    if named.get("study") in choices:
        study = choices[named["study"]]
        about = _filled(f"study={study.name}: {study.about}", width)
        return "\n\n".join([about, _section("Its keys, each with its default:", study.keys, width), keys])
    studies = _columns([(name, choice.summary) for name, choice in choices.items()], width)
    usage = "usage:\n" + _columns(STUDY_USAGE, width, USAGE)
    return "\n\n".join([_filled(STUDY, width), usage, keys, f"Studies:\n{studies}"])


def _named(arguments: Sequence[str]) -> dict[str, str]:
    """The values that the command line gives, by key."""
    return {key: value for key, equals, value in (one.partition("=") for one in arguments) if equals}


def _group(group: str, default: str | None, choices: dict[str, Choice], asked: str | None, width: int) -> str:
    """A group: its choices, and the keys of the one that is asked for."""
    head = f"{group}={default}" if default is not None else f"{group}=CHOICE"
    lines = []
    if len(choices) > 1 or default is None:
        lines.append(f"{head}; the choices are")
        lines.append(_columns([(name, choice.summary) for name, choice in choices.items()], width))
    else:
        lines.append(_filled(f"{group}: {choices[asked].about}" if asked else group, width))
    if asked is not None and default is not None and choices[asked].keys:
        if len(choices) > 1:
            lines.append(f"  with {group}={asked}:")
        lines.append(_columns(_pairs(choices[asked].keys), width, indent="    "))
    return "\n".join(lines)


def _section(title: str, keys: Iterable[Key], width: int) -> str:
    return f"{title}\n{_columns(_pairs(keys), width)}"


def _pairs(keys: Iterable[Key]) -> list[tuple[str, str]]:
    return [(f"{key.name}={key.default}" if key.default else key.name, key.meaning) for key in keys]


def _columns(pairs: Sequence[tuple[str, str]], width: int, most: int = NAMES, indent: str = "  ") -> str:
    """Two columns, the first at most ``most`` wide; what does not fit into it has a line of its own."""
    first = len(indent) + min(max((len(name) for name, _ in pairs), default=0), most, width // 2) + 2
    lines = []
    for name, text in pairs:
        folded = textwrap.wrap(text, width - first, break_long_words=False, break_on_hyphens=False) or [""]
        start = f"{indent}{name}  "
        if len(start) > first:  # and a long list as a default may take several lines
            options = {"initial_indent": indent, "subsequent_indent": indent + "  ", "break_long_words": False}
            lines += textwrap.wrap(name, width, break_on_hyphens=False, **options)
        else:
            lines.append(f"{start:<{first}}{folded.pop(0)}".rstrip())
        lines += [" " * first + line for line in folded]
    return "\n".join(lines)


def _filled(text: str, width: int) -> str:
    return textwrap.fill(" ".join(text.split()), width, break_long_words=False, break_on_hyphens=False)


def _width(asked: int | None) -> int:
    width = asked or shutil.get_terminal_size((100, 24)).columns
    return max(NARROWEST, min(WIDEST, width))
