"""The main job: ``python train.py p=3 alpha=1e-3`` trains one diagonal linear network; ``-m`` sweeps."""

import gc

gc.disable()  # imports make no garbage, and looking for it takes a quarter of their time; run_point turns it on

import hydra  # noqa: E402
from omegaconf import DictConfig  # noqa: E402

from dlntorch.cli.command_line import end_process, exit_status_of, run_point  # noqa: E402
from dlntorch.run.configuration import config_directory  # noqa: E402


@hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="train")
def train(config: DictConfig) -> float | None:
    """Make the problem, compute the references, train by plain SGD, compare, report."""
    return run_point(config)


if __name__ == "__main__":
    end_process(exit_status_of(train), script=__file__)
