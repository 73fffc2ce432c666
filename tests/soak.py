"""A run at full speed for an hour: memory, file handles, threads and disk, sampled; they have to stay where they are.

    python -m tests.soak --seconds 3600          # one long run, with W&B (offline), checkpoints and the trajectory
    python -m tests.soak --seconds 600 --many    # many short runs in one process, as the worker of a sweep makes them

Not part of the test suite. Prints a table of the first, middle and last tenth; ends with status 1 where something grew.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: What may be gained between the first and the last tenth: megabytes of memory, of disk, and handles or threads.
MEMORY, DISK, HANDLES = 40.0, 20.0, 4

MANY = """
import sys, time
from dlntorch.cli.command_line import exit_status_of  # the imports of a worker
import hydra
from omegaconf import OmegaConf
from dlntorch.run import run_experiment
from dlntorch.report import write_run_report
folder, seconds = sys.argv[1], float(sys.argv[2])
with hydra.initialize_config_dir(f"{folder}/conf", version_base=None):
    config = hydra.compose("train", ["max_steps=200000", "trainer.progress=false"])
config = OmegaConf.to_container(config, resolve=True)
config.pop("experiment", None)
end, made = time.monotonic() + seconds, 0
while time.monotonic() < end:
    config["problem"]["seed"] = made
    run_experiment(config, f"{sys.argv[3]}/{made % 10}", draw=write_run_report)
    made += 1
print(made, "runs")
"""


@dataclass
class Sample:
    """What a process and its folder hold at one moment."""

    memory: float  # MB resident
    handles: int
    threads: int
    disk: float  # MB

    @classmethod
    def of(cls, pid: int, folder: Path) -> Sample:
        """Read from /proc; raises ``OSError`` where the process has ended."""
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return cls(
            memory=int(status["VmRSS"].split()[0]) / 1024,
            handles=len(list(Path(f"/proc/{pid}/fd").iterdir())),
            threads=int(status["Threads"]),
            disk=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20,
        )


def watch(command: list[str], folder: Path, every: float) -> list[Sample]:
    """Samples of a command while it runs."""
    samples: list[Sample] = []
    with open(folder / "output.txt", "wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            with contextlib.suppress(OSError, KeyError):  # it ended meanwhile, or a file was replaced
                samples.append(Sample.of(process.pid, folder))
            time.sleep(every)
    print("".join((folder / "output.txt").read_text()[-600:]))
    if process.returncode != 0:
        raise SystemExit(f"the command ended with {process.returncode}")
    return samples


def table(samples: list[Sample]) -> list[tuple[str, float, float, float, float, bool]]:
    """Name, largest in the first, middle and last tenth (the first one after the start), what may be gained, kept."""
    samples = samples[: -max(len(samples) // 50, 1)]  # without the end, where figures are drawn
    tenth = max(len(samples) // 10, 1)
    parts = samples[tenth : 2 * tenth], samples[len(samples) // 2 :][:tenth], samples[-tenth:]
    rows = []
    for name, allowed in (("memory", MEMORY), ("handles", HANDLES), ("threads", HANDLES), ("disk", DISK)):
        first, middle, last = (float(max(getattr(sample, name) for sample in part)) for part in parts)
        rows.append((name, first, middle, last, float(allowed), last - first <= allowed))
    return rows


def main() -> int:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--many", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if asked.many:
            (folder / "conf").symlink_to(ROOT / "conf")
            command = [sys.executable, "-W", "ignore", "-c", MANY, name, str(asked.seconds), str(folder / "runs")]
        else:
            command = [
                sys.executable, "train.py", "p=3", "alpha=1e-4", "tol=0", "max_steps=1_000_000_000_000",
                f"max_wall_seconds={asked.seconds}", "trainer.progress=false", f"hydra.run.dir={folder / 'run'}",
            ]  # fmt: skip
        samples = watch(command, folder, every=asked.seconds / 200)
    kept = True
    print(f"{'':10}{'first':>10}{'middle':>10}{'last':>10}   may gain")
    for what, first, middle, last, allowed, fine in table(samples):
        kept &= fine
        print(f"{what:10}{first:10.1f}{middle:10.1f}{last:10.1f}   {allowed:g}{'' if fine else '   GREW'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
