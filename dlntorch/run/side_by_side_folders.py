"""The folders of runs that are trained side by side: each keeps what it would keep alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlntorch.problem import Problem
from dlntorch.run.identity import run_identity
from dlntorch.run.result import RunResult
from dlntorch.run.settings import RunSettings
from dlntorch.run.single import write_result
from dlntorch.store.folder import RunFolder
from dlntorch.training.descent import Descent

__all__ = ["SideBySideFolders"]


class SideBySideFolders:
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
        from dlntorch.run.ensemble_loggers import ToLog, log_each

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
