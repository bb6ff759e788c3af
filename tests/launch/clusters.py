"""Real engines on this host: two Ray nodes, a Slurm site with two nodes. What they start is ended by its number."""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.launch.runs import ENVIRONMENT

PATIENCE = 180.0
RAY = Path(sys.executable).with_name("ray")
STEP = re.compile(r"slurmstepd: \[(\d+)\.")
DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "srun")


@dataclass(frozen=True)
class Site:
    """An engine that runs: how a sweep is told of it, and how one of its nodes is lost."""

    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    lose_node: Callable[[int], None] | None = None
    """Takes away the node on which the worker with a number runs, for good."""


def until(true: Callable[[], object], what: str) -> None:
    """Waits until `true` is."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"{what} did not happen in time"
        time.sleep(0.05)


@contextmanager
def local_site(folder: Path) -> Iterator[Site]:
    """This machine; its one node cannot be lost without the sweep."""
    yield Site("local", ("--parallel", "2"))


@contextmanager
def ray_site(folder: Path) -> Iterator[Site]:
    """A head and a second node, one core each; skipped where Ray is not installed."""
    pytest.importorskip("ray", reason="Ray is not installed")
    scratch, port = tempfile.mkdtemp(prefix="r"), free_port()  # sockets have short paths only
    # A token of its own: without one, whether Ray asks for one depends on what was run on this host before.
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    shared = ["--num-cpus=1", "--node-ip-address=127.0.0.1", "--disable-usage-stats", "--block"]
    shared += ["--object-store-memory=80000000"]
    head = [
        str(RAY),
        "start",
        "--head",
        f"--port={port}",
        "--include-dashboard=false",
        f"--temp-dir={scratch}",
        *shared,
    ]
    nodes = [_start(head, token)]
    try:
        until(lambda: _answers(port), "the head of a Ray cluster")
        nodes.append(_start([str(RAY), "start", f"--address=127.0.0.1:{port}", *shared], token))
        until(lambda: len(_named(nodes[1].pid, "raylet")) == 1, "a second Ray node")
        time.sleep(1.0)  # it registers
        yield Site("ray", ("--ray-address", f"127.0.0.1:{port}"), token, lambda worker: _lose_ray_node(nodes, worker))
    finally:
        for node in reversed(nodes):
            _end_tree(node.pid)
            node.wait()
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def slurm_site(folder: Path) -> Iterator[Site]:
    """A controller and two nodes on the loopback; skipped where Slurm is not installed or this is not root."""
    pytest.importorskip("submitit", reason="submitit is not installed")
    missing = [name for name in DAEMONS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing:
        pytest.skip(f"Slurm is not installed: no {missing[0]}")
    if os.geteuid() != 0:
        pytest.skip("Slurm's daemons are started by root only")
    scratch = Path(tempfile.mkdtemp(prefix="slurm"))
    scratch.chmod(0o755)
    environment = {"SLURM_CONF": str(scratch / "slurm.conf")}
    daemons = _start_slurm(scratch)
    try:
        until(lambda: _slurm(environment, "sinfo", "-h", "-o", "%D %T").strip() == "2 idle", "two idle Slurm nodes")
        yield Site("slurm", (), environment, lambda worker: _lose_slurm_node(environment, daemons, worker))
    finally:
        _slurm(environment, "scancel", "--user=root", check=False)
        time.sleep(1.0)
        for daemon in reversed(list(daemons.values())):
            _end_tree(daemon.pid)
            daemon.wait()
        shutil.rmtree(scratch, ignore_errors=True)


SITES = {"local": local_site, "ray": ray_site, "slurm": slurm_site}


def release(environment: dict[str, str]) -> None:
    """Lets Slurm's requeued jobs start now instead of in two minutes."""
    for line in _slurm(environment, "squeue", "-h", "-r", "-t", "PENDING", "-o", "%i").split():
        _slurm(environment, "scontrol", "update", f"JobId={line}", "StartTime=now", check=False)


def slurm_job_of(worker: int) -> str:
    """The number of the Slurm job that a worker belongs to."""
    return next(found[1] for one in ancestors(worker) if (found := STEP.search(_command(one))))


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def parents() -> dict[int, int]:
    """The parent of every process."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def descendants(number: int) -> list[int]:
    """A process and all below it, the lowest last."""
    tree, known = [number], parents()
    for one in tree:
        tree += [child for child, parent in known.items() if parent == one]
    return tree


def ancestors(number: int) -> list[int]:
    known, line = parents(), []
    while number in known:
        line.append(number)
        number = known[number]
    return line


def _start(command: list[str], environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env=ENVIRONMENT | (environment or {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _end_tree(number: int) -> None:
    for one in descendants(number):
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def _answers(port: int) -> bool:
    with socket.socket() as opened:
        return opened.connect_ex(("127.0.0.1", port)) == 0


def _name(number: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{number}/comm").read_text().strip()
    return ""


def _named(number: int, name: str) -> list[int]:
    return [one for one in descendants(number) if _name(one) == name]


def _lose_ray_node(nodes: list[subprocess.Popen[bytes]], worker: int) -> None:
    """Kills the second node with everything on it; the driver lives on the head, whose loss ends the cluster."""
    _end_tree(nodes[1].pid)


def _start_slurm(scratch: Path) -> dict[str, subprocess.Popen[bytes]]:
    """munge, the controller and two nodes, in the foreground so that their numbers are known."""
    munge = scratch / "munge"
    for name in ("munge", "state", "n1", "n2"):
        (scratch / name).mkdir()
    (munge / "key").write_bytes(os.urandom(1024))
    (munge / "key").chmod(0o400)
    for path in (munge, munge / "key"):
        shutil.chown(path, "munge", "munge")
    munge.chmod(0o755)
    (scratch / "slurm.conf").write_text(_slurm_conf(scratch))
    authority = [f"--key-file={munge / 'key'}", f"--socket={munge / 'socket'}", f"--pid-file={munge / 'pid'}"]
    authority += [f"--log-file={munge / 'log'}", f"--seed-file={munge / 'seed'}", "--foreground"]
    daemons = {"munge": _start(["runuser", "-u", "munge", "--", "munged", *authority])}
    until(lambda: (munge / "socket").exists(), "munge")
    conf = ["-D", "-f", str(scratch / "slurm.conf")]
    daemons["controller"] = _start(["/usr/sbin/slurmctld", *conf])
    return daemons | {node: _start(["/usr/sbin/slurmd", *conf, "-N", node]) for node in ("n1", "n2")}


def _slurm_conf(scratch: Path) -> str:
    host = socket.gethostname().partition(".")[0]
    ports = [free_port() for _ in range(3)]
    options = {
        "ClusterName": "tests",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "CommunicationParameters": "NoInAddrAny,NoCtldInAddrAny",
        "SlurmUser": "root",
        "SlurmdUser": "root",
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={scratch / 'munge' / 'socket'}",
        "CryptoType": "crypto/munge",
        "SlurmctldPort": ports[0],
        "StateSaveLocation": scratch / "state",
        "SlurmdSpoolDir": scratch / "%n",
        "SlurmctldPidFile": scratch / "controller.pid",
        "SlurmdPidFile": scratch / "%n.pid",
        "SlurmctldLogFile": scratch / "controller.log",
        "SlurmdLogFile": scratch / "%n.log",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/none",
        "AccountingStorageType": "accounting_storage/none",
        "MpiDefault": "none",
        "SwitchType": "switch/none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "SchedulerParameters": "bf_interval=1,sched_min_interval=100000",
        "ReturnToService": 0,
        "KillWait": 5,
        "SlurmdParameters": "config_overrides",
    }
    lines = [f"{name}={value}" for name, value in options.items()]
    for place, node in enumerate(("n1", "n2"), 1):
        lines.append(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[place]} CPUs=1 RealMemory=4000"
        )
    return "\n".join([*lines, "PartitionName=main Nodes=n1,n2 Default=YES MaxTime=60 State=UP", ""])


def _slurm(environment: dict[str, str], *command: str, check: bool = True) -> str:
    done = subprocess.run(command, env=ENVIRONMENT | environment, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0 or command[0] == "sinfo", done.stderr
    return done.stdout


def _lose_slurm_node(environment: dict[str, str], daemons: dict[str, subprocess.Popen[bytes]], worker: int) -> None:
    """Kills a node's daemon and all it runs, and has the controller see at once what it sees after a time-out."""
    job = slurm_job_of(worker)
    # Asked for an array's first job, squeue tells of all: its own line is the one with its number.
    nodes = dict(line.split() for line in _slurm(environment, "squeue", "-h", "-j", job, "-o", "%A %N").splitlines())
    node = nodes[job]
    steps = [one for one in parents() if f"slurmstepd: [{job}." in _command(one)]
    for one in (daemons[node].pid, *steps):
        _end_tree(one)
    _slurm(environment, "scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")


def _command(number: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{number}/cmdline").read_text().replace("\0", " ")
    return ""
