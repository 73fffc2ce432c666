"""Points of a sweep packed into batched runs: the networks of one shape trained side by side, on all cores.

What each point leaves in its folder is what it leaves alone (:func:`~dlntorch.run.side_by_side.run_ensemble`); packing
saves the references that points share and trains on several cores.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem, make_problem
from dlntorch.run.configuration import check_keys
from dlntorch.run.members import is_ensemble
from dlntorch.run.result import RunResult
from dlntorch.run.settings import RunSettings
from dlntorch.run.single import run_identity, training_options, write_result
from dlntorch.store.folder import RunFolder
from dlntorch.training.descent import Descent

__all__ = ["PackFolders", "packs", "run_pack"]

#: Points of one batched run: what a crash can cost, and what is held in memory at once.
LARGEST = 128

#: Rules that are ready before training: the others choose their steps by a run of their own.
RULES = ("relative", "constant", "stable")


def packs(configs: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Numbers of the points that are faster together, pack by pack; the others are left to run alone.

    Together are points of one shape (m, n) on the compiled CPU engine, at least two, unless ``pack=false``. A point with
    a mistake in it is left alone too, where the mistake is reported as always.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for i, config in enumerate(configs):
        shape = _shape(config)
        if shape is not None:
            groups.setdefault(shape, []).append(i)
    found: list[list[int]] = []
    for group in groups.values():
        parts = -(-len(group) // LARGEST)
        found += [group[part::parts] for part in range(parts)]
    return [sorted(pack) for pack in found if len(pack) > 1]


def _shape(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """The shape of a point that can be packed, None for others."""
    try:
        check_keys({key: value for key, value in config.items() if key != "experiment"})
        if (
            config["pack"] is False
            or config["dry_run"]
            or config["repeat"] is not None  # refused, as each point says for itself
            or config["resume"] is not None
            or is_ensemble(config)
            or config["schedule"]["name"] not in RULES
        ):
            return None
        if config["max_wall_seconds"] is not None:  # a budget of each run alone
            return None
        training_options(config)
        problem: Problem = make_problem(**config["problem"])
        settings = RunSettings.from_config(problem, config)
    except (InputError, KeyError, TypeError):
        return None
    return (problem.m, problem.n) if settings.engine == "fused" else None


def run_pack(
    configs: Sequence[Mapping[str, Any]],
    folders: Sequence[Path],
    draw: Callable[[RunResult], Mapping[str, Path]],
) -> bool:
    """Run the points of a pack, each in its folder, continuing those that have been cut; False where a signal ended them."""
    from dlntorch.run.side_by_side import run_ensemble

    resumed = [
        {**config, "resume": str(folder) if (folder / "checkpoints" / "last.ckpt").is_file() else None}
        for config, folder in zip(configs, folders, strict=True)
    ]
    results = run_ensemble(resumed, folders, draw=draw)
    return all(result.status is not Status.INTERRUPTED for result in results)


class PackFolders:
    """The run folders of runs side by side, each with its own checkpoint and logger, as if it had run alone.

    Args:
        configs: The configurations.
        problems: Their problems.
        places: Their folders.

    Raises:
        InputError: for a mistake in the settings or in those of a logger, before anything is trained.
    """

    def __init__(
        self, configs: Sequence[Mapping[str, Any]], problems: Sequence[Problem], places: Sequence[RunFolder]
    ) -> None:
        asked = [RunSettings.from_config(problem, config) for problem, config in zip(problems, configs, strict=True)]
        self.configs = configs
        self.problems = problems
        self.places = places
        self.identities = [run_identity(problem, one) for problem, one in zip(problems, asked, strict=True)]
        self.resumed = [
            config["resume"] is not None and place.checkpoint.is_file()
            for config, place in zip(configs, places, strict=True)
        ]
        self.logged = [-1] * len(places)

    def read(self) -> list[dict[str, Any] | None]:
        """The saved states of those that are resumed."""
        asked = zip(self.places, self.identities, self.resumed, strict=True)
        return [place.read_checkpoint(identity) if resumed else None for place, identity, resumed in asked]

    def open(self, descents: Sequence[Descent], states: Sequence[Mapping[str, Any] | None]) -> None:
        """Put the networks where they were saved, and write what is known before training."""
        from dlntorch.trackers.loggers import check_logger, logged_before

        for config in self.configs:
            check_logger(config["logger"])
        for i, (config, place, state) in enumerate(zip(self.configs, self.places, states, strict=True)):
            if state is not None:
                descents[i].load_state_dict(dict(state))
                self.logged[i] = logged_before(config["logger"], state.get("logged_step"))
            place.begin(config, state is not None)
            place.write_problem(self.problems[i])

    def write_checkpoints(self, state: Mapping[str, Any]) -> None:
        """Each network's part of the ensemble's state into its own folder."""
        for i, one in enumerate(state["networks"]):
            self._write_checkpoint(i, one)

    def _write_checkpoint(self, i: int, state: Mapping[str, Any]) -> None:
        self.places[i].write_checkpoint({**state, "logged_step": self.logged[i]}, self.identities[i])

    def write(
        self, results: Sequence[RunResult], draw: Callable[[RunResult], Mapping[str, Path]]
    ) -> tuple[list[RunResult], list[Mapping[str, Path]]]:
        """Write every result, and draw it; returns the results with their folders, and their figures."""
        figures: list[Mapping[str, Path]] = []

        def drawn(result: RunResult) -> Mapping[str, Path]:
            figures.append(draw(result))
            return figures[-1]

        asked = zip(results, self.configs, self.places, strict=True)
        return [write_result(result, config, place, None, drawn) for result, config, place in asked], figures

    def log(
        self, results: Sequence[RunResult], figures: Sequence[Mapping[str, Path]], descents: Sequence[Descent]
    ) -> None:
        """Log every path through its own logger, and note in the checkpoints how far that went."""
        from dlntorch.trackers.ensemble_loggers import ToLog, log_each

        asked = zip(results, self.configs, self.places, figures, self.resumed, self.logged, strict=True)
        before = self.logged
        self.logged = log_each(
            [
                ToLog(result, config["logger"], place.path, config, drawn, resumed, logged)
                for result, config, place, drawn, resumed, logged in asked
            ]
        )
        for i, descent in enumerate(descents):
            if self.logged[i] != before[i]:
                with contextlib.suppress(OSError):  # a resumed run then logs some steps twice
                    self._write_checkpoint(i, descent.state_dict())
