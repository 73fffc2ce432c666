"""A submitit launcher that waits for all of its jobs, also where one is lost."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

__all__ = ["patient_submitit"]


@contextlib.contextmanager
def patient_submitit() -> Iterator[None]:
    """Wait for all jobs of an array, also when one of them ends without a result (cancelled, killed, node lost)."""
    if "submitit" not in sys.modules and find_spec("submitit") is None:
        yield
        return
    import submitit

    class Patient(submitit.AutoExecutor):
        def map_array(self, *arguments: Any) -> list[Any]:
            return [_PatientJob(job) for job in super().map_array(*arguments)]

    before = submitit.AutoExecutor
    submitit.AutoExecutor = Patient  # type: ignore[misc]
    try:
        yield
    finally:
        submitit.AutoExecutor = before  # type: ignore[misc]


class _PatientJob:
    """A submitit job whose loss is one line on standard error and an empty return."""

    #: Seconds between looks at the queue, and how many of them have to miss a job before it counts as lost.
    POLL, MISSED = 2.0, 3

    def __init__(self, job: Any) -> None:
        self.job = job

    def results(self) -> list[JobReturn]:
        try:
            if self._ends_with_a_result():
                return self.job.results()
            text = "it left the queue (killed, cancelled, or its node was lost)"
        except Exception as error:
            text = " ".join(str(error).split())[:300]
        print(f"error: job {self.job.job_id} ended without a result: {text}", file=sys.stderr, flush=True)
        lost = JobReturn(status=JobStatus.COMPLETED)
        lost.return_value = None
        return [lost]

    def _ends_with_a_result(self) -> bool:
        """Wait for the job; submitit itself never sees the end of a killed one where SLURM keeps no accounts."""
        if shutil.which("squeue") is None:
            return True
        missed = 0
        while not self.job.paths.result_pickle.exists():
            missed = 0 if _in_queue(self.job.job_id) else missed + 1
            if missed > self.MISSED:
                return False
            time.sleep(self.POLL)
        return True


def _in_queue(job: str) -> bool:
    """Whether SLURM still has a job, waiting or running; True where it does not answer."""
    try:
        done = subprocess.run(["squeue", "-h", "-o", "%T", "-j", job], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return True
    return bool(done.stdout.strip()) or (done.returncode != 0 and "Invalid job id" not in done.stderr)
