"""Where networks keep what they leave: a folder for each of them, or one for all."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlntorch.problem import Problem
from dlntorch.run.ensemble_result import EnsembleResult, ensemble_summary, write_ensemble
from dlntorch.run.identity import run_identity
from dlntorch.run.predicted_saddles import predicted_saddles
from dlntorch.run.result import RunResult
from dlntorch.run.settings import RunSettings
from dlntorch.store.folder import RunFolder

if TYPE_CHECKING:
    from dlntorch.run.lifecycle import Networks
    from dlntorch.run.unlogged import Unlogged

__all__ = ["EnsemblePlace", "NetworkPlace", "Place", "log_unlogged"]

Draw = Callable[[Any], Mapping[str, Path]]


class Place:
    """A run folder and what is in it: config, problems, checkpoint, results and the logger's files.

    Args:
        folder: The folder, open.
        config: Its configuration.
        identity: What its checkpoint belongs to.
    """

    def __init__(self, folder: RunFolder, config: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self.config = config
        self.identity = identity
        self.resumed = config["resume"] is not None and folder.checkpoint.is_file()
        #: Of the ``logger`` that follows training, the figures and the result that it gets at the end.
        self.logger: Any = None
        self.figures: Mapping[str, Path] = {}
        self.result: Any = None

    def read_checkpoint(self) -> dict[str, Any] | None:
        """The saved state that the networks go on from, None where they start anew."""
        return self.folder.read_checkpoint(self.identity) if self.resumed else None

    def begin(self, networks: Networks, state: dict[str, Any] | None) -> None:
        """Put the networks where they were saved, and write what is known before training."""
        raise NotImplementedError

    def open_logger(self) -> contextlib.AbstractContextManager[Any]:
        """The logger that follows training."""
        raise NotImplementedError

    def save(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint from the state of all that is trained."""
        raise NotImplementedError

    def write(self, results: Sequence[RunResult], draw: Draw) -> Any:
        """Write the results of the networks that are here, and draw them; ``summary.json`` comes last.

        It comes too where drawing fails: where it is, all numbers are.
        """
        self.result = self._written(results)
        try:
            self.figures = draw(self.result)
        finally:
            self.folder.write_summary(self.result.summary)
        return self.result

    def _written(self, results: Sequence[RunResult]) -> Any:
        """The result, all of whose files but the summary have been written."""
        raise NotImplementedError

    def finish_logger(self) -> None:
        """Send the logger that followed training what the results add, and close it."""
        raise NotImplementedError

    def unlogged(self) -> list[Unlogged]:
        """The networks whose loggers hear of them only now."""
        raise NotImplementedError

    def note_logged(self, steps: Sequence[int]) -> bool:
        """Remember the last step that each of these loggers has now; whether that is news."""
        raise NotImplementedError


class NetworkPlace(Place):
    """The folder of one network.

    Args:
        folder: The folder, open.
        config: Its configuration.
        problem: The data.
        number: Which of the networks it is.
        follows: Whether its logger follows training, else it hears of the run at the end.
        planned: What ``accuracy=…`` chose and predicted, as :func:`~dlntorch.run.asked_accuracy.planned_settings` has it.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: Mapping[str, Any],
        problem: Problem,
        number: int = 0,
        *,
        follows: bool = False,
        planned: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(folder, config, run_identity(problem, RunSettings.from_config(problem, config)))
        self.number = number
        self.follows = follows
        self.planned = planned
        self.logged = -1

    def begin(self, networks: Networks, state: dict[str, Any] | None) -> None:
        from dlntorch.trackers.loggers import logged_before

        if state is not None:
            networks.descents[self.number].load_state_dict(state)
            self.logged = logged_before(self.config["logger"], state.get("logged_step"))
        self.folder.begin(self.config, state is not None, self.planned)
        self.folder.write_problem(networks.plans[self.number].problem)

    def open_logger(self) -> contextlib.AbstractContextManager[Any]:
        from dlntorch.trackers.loggers import open_logger

        if not self.follows:
            return contextlib.nullcontext()
        return open_logger(self.config["logger"], self.folder.path, self.config, self.resumed)

    def save(self, state: Mapping[str, Any]) -> None:
        own = state["networks"][self.number] if "networks" in state else state
        self.folder.write_checkpoint({"logged_step": self.logged, **own}, self.identity)

    def _written(self, results: Sequence[RunResult]) -> RunResult:
        result = results[self.number]
        if self.planned is not None:
            from dlntorch.run.asked_accuracy import accuracy_report

            result.summary["plan"] = accuracy_report(self.planned, result.summary["distance_to_selected"])
        saddles = predicted_saddles(result.problem, result.summary) if self.config["callbacks"]["figures"] else None
        result = replace(result, config={**self.config, "resume": None}, folder=self.folder.path, saddles=saddles)
        self.folder.write_arrays("result.npz", result.arrays())
        self.folder.write_trajectory(result.history)
        return result

    def finish_logger(self) -> None:
        from dlntorch.run.unlogged import budget_tables
        from dlntorch.trackers.loggers import finish_logger

        if self.follows:
            code = 3 if self.result.status.ended_badly else 0
            summary, history = self.result.summary, self.result.history
            finish_logger(self.logger, summary, self.figures, code, history, budget_tables(summary))

    def unlogged(self) -> list[Unlogged]:
        from dlntorch.run.unlogged import Unlogged

        if self.follows:
            return []
        group, path = self.config["logger"], self.folder.path
        return [Unlogged(self.result, group, path, self.config, self.figures, self.resumed, self.logged)]

    def note_logged(self, steps: Sequence[int]) -> bool:
        before, self.logged = self.logged, steps[0]
        return before != self.logged


class EnsemblePlace(Place):
    """One folder for all networks.

    Args:
        folder: The folder, open.
        config: Its configuration, with lists in its key ``ensemble``.
        configs: The configuration of each network, as a single run would have it.
        problems: Their data.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: Mapping[str, Any],
        configs: Sequence[Mapping[str, Any]],
        problems: Sequence[Problem],
    ) -> None:
        each = [
            run_identity(problem, RunSettings.from_config(problem, one))
            for one, problem in zip(configs, problems, strict=True)
        ]
        digest = hashlib.sha256(json.dumps(each, sort_keys=True, default=str).encode()).hexdigest()
        super().__init__(folder, config, {"networks": len(each), "ensemble": digest})
        self.configs = configs
        self.problems = problems
        self.logged: list[int] | None = None
        self._networks: Networks | None = None

    def begin(self, networks: Networks, state: dict[str, Any] | None) -> None:
        self._networks = networks
        if state is not None:
            networks.running.load_state_dict(state)
            self.logged = state.get("logged_steps")
        self.folder.begin(self.config, state is not None)
        different = list({id(problem): problem for problem in self.problems}.values())
        for i, problem in enumerate(different):
            inside = self.folder if len(different) == 1 else RunFolder(self.folder.path / "problems" / str(i))
            inside.write_problem(problem)

    def open_logger(self) -> contextlib.AbstractContextManager[Any]:
        from dlntorch.run.unlogged import open_ensemble_logger

        return open_ensemble_logger(self.config, self.folder.path, self.resumed)

    def save(self, state: Mapping[str, Any]) -> None:
        self.folder.write_checkpoint({**state, "logged_steps": self.logged}, self.identity)

    def _written(self, results: Sequence[RunResult]) -> EnsembleResult:
        running: Any = self._networks.running if self._networks is not None else None
        summary = ensemble_summary(results, running.wall_seconds, running.threads)
        result = EnsembleResult(tuple(results), summary, {**self.config, "resume": None}, self.folder.path)
        write_ensemble(self.folder, result)
        return result

    def finish_logger(self) -> None:
        from dlntorch.run.unlogged import finish_ensemble_logger

        finish_ensemble_logger(self.logger, self.result, self.figures)

    def unlogged(self) -> list[Unlogged]:
        from dlntorch.run.unlogged import unlogged_networks

        return unlogged_networks(self.result, self.configs, self.resumed, self.logged)

    def note_logged(self, steps: Sequence[int]) -> bool:
        before, self.logged = self.logged, list(steps)
        return before != self.logged


def log_unlogged(places: Sequence[Place], state: Callable[[], Mapping[str, Any]]) -> None:
    """Log every path whose logger did not follow training, and note in the checkpoints how far that went.

    Args:
        places: The places, all of which have been written.
        state: Makes the state of all that is trained.
    """
    waiting = [place.unlogged() for place in places]
    if not any(waiting):
        return
    from dlntorch.run.unlogged import log_each

    logged = log_each([one for ones in waiting for one in ones])
    news = []
    for place, ones in zip(places, waiting, strict=True):
        here, logged = logged[: len(ones)], logged[len(ones) :]
        if ones and place.note_logged(here):
            news.append(place)
    if not news:
        return
    saved = state()
    for place in news:
        with contextlib.suppress(OSError):  # a resumed run then logs some steps twice
            place.save(saved)
