"""A SLURM cluster of one node on this machine, from Debian's packages: started as root, and only what was started is stopped.

    sudo python -m tests.slurm.cluster        # installs and starts it, prints the environment to use, stops it on Ctrl-C

Nothing under /etc is touched: configuration, keys, sockets and spools are in one temporary folder, and the daemons are
children of this process, listening on free ports.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
DAEMONS = ("munged", "slurmctld", "slurmd")
#: More than a small machine has, so that a job can be preempted while another one runs.
CPUS = 4

CONFIGURATION = """
ClusterName=dlntorch
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
InactiveLimit=0
OverTimeLimit=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=low Nodes={host} Default=YES MaxTime=60 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=2
PartitionName=high Nodes={host} MaxTime=60 State=UP PriorityTier=10 PreemptMode=OFF
"""


def why_not() -> str | None:
    """Why no cluster can be started here, or None."""
    if os.name != "posix" or os.geteuid() != 0:
        return "starting SLURM needs root"
    if not Path("/etc/debian_version").exists():
        return "SLURM is installed from Debian's packages, and this is not Debian"
    return None


def install() -> str | None:
    """Install the packages that are missing; returns why that failed, or None."""
    if all(shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin") for name in DAEMONS):
        return None
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "-qq", "update"],
        ["apt-get", "-qq", "install", "--yes", "--no-install-recommends", *PACKAGES],
    ):
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{' '.join(command[:3])}: {error}"
        if done.returncode != 0:
            return f"{' '.join(command[:3])} failed: {done.stderr.strip().splitlines()[-1:]}"
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """munged, slurmctld and slurmd as children of this process."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dlntorch-slurm-"))
        self.folder.chmod(0o755)
        self.children: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": os.environ.get("PATH", "") + ":/usr/bin:/usr/sbin",
        }
        for name in [name for name in self.environment if name.startswith("SLURM_") and name != "SLURM_CONF"]:
            del self.environment[name]

    def start(self) -> None:
        """Start the three daemons and wait until the node takes jobs."""
        host = socket.gethostname().split(".")[0]
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        Path(self.environment["SLURM_CONF"]).write_text(
            CONFIGURATION.format(
                host=host,
                folder=self.folder,
                cpus=CPUS,
                memory=memory,
                controller_port=_free_port(),
                node_port=_free_port(),
            )
        )
        self._start_munge()
        self._spawn("slurmctld", "-D", "-c")
        self._spawn("slurmd", "-D", "-N", host)
        self._wait(lambda: "idle" in self.run("sinfo", "-h", "-o", "%T", check=False), "the node to be idle")

    def _start_munge(self) -> None:
        place = self.folder / "munge"
        place.mkdir()
        key = place / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        for path in (place, key):
            shutil.chown(path, "munge", "munge")
        place.chmod(0o711)
        options = [f"--{name}-file={place / name}" for name in ("key", "pid", "log", "seed")]
        self._spawn("munged", "--foreground", f"--socket={place / 'socket'}", *options, user="munge")
        self._wait((place / "socket").exists, "munged's socket")

    def _spawn(self, *command: str, user: str | None = None) -> None:
        with open(self.folder / f"{command[0]}.out", "wb") as log:
            self.children.append(
                subprocess.Popen(
                    command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment, user=user, cwd="/",
                    start_new_session=True,
                )
            )  # fmt: skip

    def _wait(self, ready, what: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not ready():
            dead = [child.args[0] for child in self.children if child.poll() is not None]
            if dead or time.monotonic() > end:
                logs = "\n".join(f"{p.name}: {p.read_text()[-1500:]}" for p in self.folder.glob("*.out"))
                raise RuntimeError(f"waited for {what}; ended: {dead}\n{logs}")
            time.sleep(0.2)

    def run(self, *command: str, check: bool = True) -> str:
        """The output of a SLURM command."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def stop(self) -> None:
        """Cancel all jobs of this cluster, end the daemons that were started here, and remove their folder."""
        self.run("scancel", "--full", "--user", "root", check=False)
        end = time.monotonic() + 15
        while self.run("squeue", "-h", check=False).strip() and time.monotonic() < end:
            time.sleep(0.3)
        for child in reversed(self.children):
            child.terminate()
        for child in reversed(self.children):
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def main() -> int:
    """Start a cluster and keep it until Ctrl-C."""
    reason = why_not() or install()
    if reason:
        print(f"error: {reason}", file=sys.stderr)
        return 2
    cluster = Cluster()
    try:
        cluster.start()
        print(f"export SLURM_CONF={cluster.environment['SLURM_CONF']}", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        cluster.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
