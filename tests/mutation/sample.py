"""The sample: mutants drawn uniformly from all that the operators can make of the files."""

from __future__ import annotations

import ast
import hashlib
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["PACKAGES", "Mutant", "draw", "load", "save", "source_files"]

PACKAGES = (
    "dlntorch/model",
    "dlntorch/optim",
    "dlntorch/flow",
    "dlntorch/limit",
    "dlntorch/reference",
    "dlntorch/bounds",
)


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
        line: Of the change, from 1; ``column`` from 1 too.
        before: The changed lines, stripped, as they were; ``after`` as they are in the mutant.
        start: The characters of the file in ``[start, end)`` are replaced by ``replacement``.
        digest: Of the file that was mutated: the mutant means nothing in another version.
    """

    file: str
    line: int
    column: int
    operator: str
    before: str
    after: str
    start: int
    end: int
    replacement: str
    digest: str

    @property
    def name(self) -> str:
        return f"{self.file}:{self.line}:{self.column} {self.operator} → {self.after}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column} {self.operator}\n    - {self.before}\n    + {self.after}"

    def apply(self, text: str) -> str:
        """The file's text with the change.

        Raises:
            ValueError: The text is not what the mutant was made from.
        """
        if _digest(text) != self.digest:
            raise ValueError(f"{self.file} has changed since the sample was drawn: draw it again (--list --json)")
        return text[: self.start] + self.replacement + text[self.end :]


def source_files(root: Path, packages: Iterable[str] = PACKAGES) -> list[str]:
    """The files of the packages, relative to root."""
    return sorted(str(path.relative_to(root)) for package in packages for path in (root / package).rglob("*.py"))


def draw(root: Path, files: Iterable[str], count: int, seed: int) -> tuple[list[Mutant], int]:
    """``count`` mutants (all, if there are fewer), and how many places there are in all.

    All places are shuffled and the first that are mutants taken, so that each mutant is as likely as any other: a place
    where the tree stays what it was (1e300 + 1) is none.
    """
    from tests.mutation.operators import sites  # cosmic-ray, which judging does without

    texts = {file: (root / file).read_text() for file in sorted(files)}
    places = [(file, site) for file, text in texts.items() for site in sites(text)]
    random.Random(seed).shuffle(places)
    found: list[Mutant] = []
    for mutant in _mutants(places, texts):
        if len(found) == count:
            break
        found.append(mutant)
    return found, len(places)


def _mutants(places: Iterable, texts: dict[str, str]) -> Iterator[Mutant]:
    from tests.mutation.operators import mutate

    for file, site in places:
        text = texts[file]
        changed = mutate(text, site)
        if changed is None or not _differs(text, changed):
            continue
        start = _same(text, changed)
        same = _same(text[start:][::-1], changed[start:][::-1])
        end, new_end = len(text) - same, len(changed) - same
        before, after = _lines(text, start, end), _lines(changed, start, new_end)
        yield Mutant(
            file, site.line, site.column + 1, site.operator, before, after, start, end, changed[start:new_end],
            _digest(text),
        )  # fmt: skip


def _same(one: str, other: str) -> int:
    """How many characters they have in common at the beginning."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _differs(text: str, changed: str) -> bool:
    try:
        return ast.dump(ast.parse(text)) != ast.dump(ast.parse(changed))
    except SyntaxError:  # of the operator's making: says nothing about the tests
        return False


def _lines(text: str, start: int, end: int) -> str:
    first = text.rfind("\n", 0, start) + 1
    last = text.find("\n", end)
    return " ".join(text[first : last if last >= 0 else None].split())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def save(path: Path, mutants: Iterable[Mutant]) -> None:
    path.write_text(json.dumps([asdict(mutant) for mutant in mutants], indent=1, ensure_ascii=False) + "\n")


def load(path: Path) -> list[Mutant]:
    return [Mutant(**entry) for entry in json.loads(path.read_text())]
