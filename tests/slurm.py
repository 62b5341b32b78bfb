"""A SLURM that tests start on this machine: munged, slurmctld and slurmd of Debian (apt-get install slurm-wlm munge),
in a folder of their own, without accounting. As root alone, as slurmd starts jobs for whoever submits them."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")

CONFIG = """
ClusterName=bnsweep
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,sched_min_interval=0,bf_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=3
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=16000 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1
PartitionName=high Nodes=ALL PriorityTier=2 PreemptMode=OFF
"""


def missing() -> str:
    """Why none can be started; empty where one can."""
    without = [name for name in PROGRAMS if shutil.which(name) is None]
    if without:
        return f"no {without[0]} found; Debian: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "slurmd starts jobs as root alone"


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def slurm() -> Iterator[dict[str, str]]:
    """Variables by which SLURM's programs find it. Two processors, partitions `low` and `high`, whose jobs take them
    from those of `low`, which are requeued."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, host = Path(name), socket.gethostname().partition(".")[0]
        for part in ("state", "spool"):
            (folder / part).mkdir()
        (folder / "munge.key").write_bytes(secrets.token_bytes(128))
        for path in (folder, folder / "munge.key"):
            path.chmod(0o700)
        config = folder / "slurm.conf"
        config.write_text(CONFIG.format(host=host, folder=folder, ports=free_ports(2)))
        variables = {"SLURM_CONF": str(config)}
        munge = [f"--{kind}-file={folder}/munge.{kind}" for kind in ("key", "pid", "log", "seed")]
        daemons = [
            ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *munge],
            ["slurmctld", "-D", "-i"],
            ["slurmd", "-D", "-N", host],
        ]
        for command in daemons:
            with (folder / "daemons.log").open("ab") as log:
                process = subprocess.Popen(command, env=os.environ | variables, stdout=log, stderr=log)
            stack.callback(process.wait, 20)
            stack.callback(process.terminate)
            if command[0] == "munged":
                until_true((folder / "munge.socket").exists, folder)
        until_true(lambda: "idle" in output(["sinfo", "--noheader", "--format=%T"], variables), folder)
        yield variables


def output(command: list[str], variables: dict[str, str]) -> str:
    """What a program of SLURM's prints."""
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False).stdout


def until_true(true: Callable[[], bool], folder: Path) -> None:
    deadline = time.monotonic() + 30
    while not true():
        logs = "\n".join(path.read_text(errors="replace") for path in folder.glob("*.log"))
        assert time.monotonic() < deadline, f"SLURM did not start:\n{logs}"
        time.sleep(0.2)


if __name__ == "__main__":
    reason = missing()
    if reason:
        raise SystemExit(reason)
    with slurm() as found:
        print("".join(f"export {name}={value}\n" for name, value in found.items()), flush=True)
        print("ends with its input", flush=True)
        input()
