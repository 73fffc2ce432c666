"""A run spread over processes under a real SLURM controller: as tasks of srun, and in a batch script without srun."""

from __future__ import annotations

import json
import sys
import time

import pytest

from tests.run.conftest import ROOT

pytestmark = pytest.mark.slurm


@pytest.mark.parametrize(
    ("asked", "srun"), [("--ntasks=2", "srun -n 2 "), ("--ntasks-per-node=2", "srun "), ("--ntasks-per-node=2", "")]
)
def test_a_run_of_two_shards_ends_with_its_results(cluster, tmp_path, asked, srun):
    words = ["p=3", "alpha=1e-2", "max_steps=200", "trainer.shards=2", "logger=none", "references=false"]
    script, log = tmp_path / "job.sh", tmp_path / "log"
    run = f"{srun}{sys.executable} train.py {' '.join(words)} hydra.run.dir={tmp_path / 'run'}"
    script.write_text(f"#!/bin/bash\n#SBATCH {asked}\nenv | grep SLURM_ | sort\n{run}\necho status=$?\n")
    job = cluster.run("sbatch", "--parsable", "-p", "low", f"--chdir={ROOT}", f"--output={log}", str(script)).strip()
    end = time.monotonic() + 120
    while "status=" not in (log.read_text() if log.exists() else "") and time.monotonic() < end:
        time.sleep(0.5)
    cluster.run("scancel", job, check=False)
    text = log.read_text() if log.exists() else "the job did not begin"
    assert "\nstatus=0\n" in text, text
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["steps"]) == ("max_steps", 200)
