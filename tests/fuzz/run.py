"""Running one target many times: what was found, how long the slowest input took, and what was left behind."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.targets import REFUSED, TARGETS

__all__ = ["SLOW_SECONDS", "Outcome", "fuzz"]

#: No input may hold the program up for longer.
SLOW_SECONDS = 10.0


@dataclass
class Outcome:
    """Of one target.

    Attributes:
        findings: Seed of the input -> what was found.
        refused: Inputs that were refused in one line; the others were accepted.
        slowest: Seconds of the slowest input.
    """

    name: str
    inputs: int
    refused: int = 0
    findings: dict[str, str] = field(default_factory=dict)
    slowest: float = 0.0

    def __str__(self) -> str:
        counts = f"{self.inputs} inputs, {self.refused} refused, {len(self.findings)} findings"
        head = f"{self.name:<26} {counts}, slowest {self.slowest:.2f} s"
        return "\n".join([head, *(f"    {seed}: {found}" for seed, found in list(self.findings.items())[:10])])


def fuzz(name: str, inputs: int, seed: int, place: Path) -> Outcome:
    """Try ``inputs`` inputs of a target; each is a function of (name, seed, number), so that a finding can be had again."""
    outcome = Outcome(name, inputs)
    for number in range(inputs):
        word = f"{name}/{seed}/{number}"
        began = time.perf_counter()
        found = TARGETS[name](random.Random(word), place)
        seconds = time.perf_counter() - began
        outcome.slowest = max(outcome.slowest, seconds)
        outcome.refused += found == REFUSED
        if not found and seconds > SLOW_SECONDS:
            found = f"took {seconds:.0f} s"
        if found:
            outcome.findings[word] = found
    left = list(place.rglob("*.tmp*"))
    if left:
        outcome.findings["at the end"] = f"temporary files were left: {left[:3]}"
    return outcome
