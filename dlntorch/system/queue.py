"""What a run knows about the queue that it runs in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

__all__ = ["requeue_slurm_job", "slurm_job"]


def slurm_job() -> str | None:
    """The id of the SLURM job that this process runs in, in the form that ``scontrol`` takes, or None."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def requeue_slurm_job() -> bool:
    """Put the SLURM job that this process runs in back into the queue; False outside of SLURM, or when refused.

    For plain ``sbatch`` scripts that ask for a signal before the time limit (``--signal=USR1@60``). Jobs of the
    launcher are requeued by submitit, and preempted ones by SLURM itself.
    """
    job = slurm_job()
    if job is None or shutil.which("scontrol") is None:
        return False
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"warning: job {job} could not be requeued: {done.stderr.strip()}", file=sys.stderr)
    return done.returncode == 0
