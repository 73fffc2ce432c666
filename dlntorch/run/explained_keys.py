"""What each key of ``conf/`` means: the comments beside the keys, which ``--help`` and the documentation are made of.

A comment after a key explains it, and goes on in the indented comment lines below it. The comment lines at the top of a
file say what choosing it means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from dlntorch.run.configuration import config_directory, group_options

__all__ = ["Choice", "Key", "chosen_by_default", "explain_file", "explain_group", "root_keys"]

_KEY = re.compile(r"(?P<indent> *)'?(?P<name>\w+)'?:(?:\s+(?P<value>[^#\s].*?))?(?:\s+# ?(?P<meaning>.*))?\s*")
_MORE = re.compile(r"\s+# ?(?P<meaning>.*)")
#: What a file has beside keys that a user sets.
_NO_KEYS = ("defaults", "hydra", "small_version")


@dataclass(frozen=True)
class Key:
    """A key of the command line.

    Attributes:
        name: As it is typed, with its group.
        default: Its value in the file, as it stands there.
        meaning: What it means: unit, rule, values.
    """

    name: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Choice:
    """A file of a group, or a command's own.

    Attributes:
        name: What chooses it.
        about: What choosing it means.
        keys: Its keys.
    """

    name: str
    about: str
    keys: tuple[Key, ...]

    @property
    def summary(self) -> str:
        """The first sentence of :attr:`about`."""
        return re.split(r"(?<=[^.\s]{2}\.)\s", self.about, maxsplit=1)[0].rstrip(".")


@cache
def explain_file(path: Path, prefix: str = "") -> Choice:
    """The keys of a file of ``conf/`` and what they mean; ``prefix`` is the group that they are set through."""
    lines = path.read_text().splitlines()
    first = next((i for i, line in enumerate(lines) if line and not line.startswith("#")), len(lines))
    about = " ".join(line.lstrip("# ") for line in lines[:first] if "@package" not in line)
    return Choice(path.stem, about, tuple(_keys(lines[first:], prefix)))


def _keys(lines: list[str], prefix: str) -> Iterator[Key]:
    outer = ""
    for i, line in enumerate(lines):
        found = _KEY.fullmatch(line)
        if found is None:
            continue
        name, indented = found["name"], bool(found["indent"])
        if not indented:
            outer = name
        if outer in _NO_KEYS or (name == "name" and prefix):  # the group itself chooses the name
            continue
        meaning = [found["meaning"] or ""]
        for further in lines[i + 1 :]:
            more = _MORE.fullmatch(further)
            if more is None:
                break
            meaning.append(more["meaning"])
        # of a key with keys of its own, those are what is set
        path = f"{outer}.{name}" if indented else name
        yield Key(prefix + path, found["value"] or "", " ".join(filter(None, meaning)))


@cache
def explain_group(group: str) -> tuple[Choice, ...]:
    """The choices of a group, by name."""
    return tuple(
        explain_file(config_directory() / group / f"{name}.yaml", f"{group}.") for name in group_options(group)
    )


@cache
def chosen_by_default(command: str = "train") -> dict[str, str | None]:
    """The groups that a command takes, each with the choice that is made where none is named."""
    entries: list[Any] = yaml.safe_load((config_directory() / f"{command}.yaml").read_text())["defaults"]
    pairs = [next(iter(entry.items())) for entry in entries if isinstance(entry, dict)]
    return {group: choice for group, choice in pairs if not group.startswith("override ")}


def root_keys(command: str = "train") -> tuple[Key, ...]:
    """The keys of a command that are in no group."""
    return explain_file(config_directory() / f"{command}.yaml").keys
