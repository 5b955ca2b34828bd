"""Real servers for the cluster's tests: PostgreSQL, Prefect, its workers, Slurm. On loopback, in folders of their own.

Each is started as one process group and ended by its id. Where a program is missing, `Missing` says which.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Missing(Exception):
    """A program that this machine lacks; the test is skipped and says so."""


def program(name: str, *elsewhere: str) -> str:
    """Where a program lies: on the path, or at the last match of one of these patterns below /usr."""
    found = [str(path) for pattern in elsewhere for path in sorted(Path("/usr").glob(pattern))]
    place = found[-1] if found else shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if not place:
        raise Missing(f"needs {name}, which is not installed")
    return place


def free_port() -> int:
    """A port on loopback that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def until(true: Callable[[], object], what: str, seconds: float = 60, every: float = 0.1) -> None:
    """Wait until something is the case."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(every)


@dataclass
class Program:
    """A program that runs in the background, with all that it starts."""

    command: list[str]
    log: Path
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> "Program":
        """Start it; its output is added to the log."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                cwd=self.cwd,
                start_new_session=True,
            )
        return self

    @property
    def runs(self) -> bool:
        """It has been started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def end(self, sign: int = signal.SIGTERM, patience: float = 15) -> None:
        """Send a signal to the program, and SIGKILL to what is left of its group."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            self.process.send_signal(sign)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-3000:]


def as_user(name: str) -> list[str]:
    """What to put before a command so that it runs as this user; nothing where we are not root."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam(name)
    return [program("setpriv"), f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


@dataclass
class Postgres:
    """A PostgreSQL cluster of the tests' own."""

    folder: Path
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self._user = as_user("postgres")
        self._postgres, self._initdb, self._isready = (
            program(name, f"lib/postgresql/*/bin/{name}") for name in ("postgres", "initdb", "pg_isready")
        )
        if self._user:
            shutil.chown(self.folder, "postgres")
        self._data = self.folder / "data"
        made = [*self._user, self._initdb, "-D", str(self._data), "-U", "prefect", "--auth=trust", "--no-sync"]
        subprocess.run(made, check=True, capture_output=True, cwd=self.folder)
        options = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.folder}
        settings = [f"-c{name}={value}" for name, value in (options | {"fsync": "off"}).items()]
        command = [*self._user, self._postgres, "-D", str(self._data), *settings]
        self._program = Program(command, self.folder.with_suffix(".log"), cwd=self.folder)

    @property
    def url(self) -> str:
        """Where Prefect finds it."""
        return f"postgresql+asyncpg://prefect@127.0.0.1:{self.port}/postgres"

    def start(self) -> "Postgres":
        """Start it and wait until it answers."""
        self._program.start()
        ask = [self._isready, "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        until(lambda: subprocess.run(ask, check=False).returncode == 0, f"PostgreSQL: {self._program.tail()}")
        return self

    def end(self) -> None:
        """Stop it as an operator would: connections are cut off, nothing is lost."""
        self._program.end(signal.SIGINT)


@dataclass
class PrefectServer:
    """A Prefect server on a PostgreSQL database, started by the command that the operating guide names."""

    folder: Path
    database: str
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "NEPENTHE_"))}
        self.env |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PREFECT_HOME": str(self.folder / "home"),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_CLI_PROMPT": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "DO_NOT_TRACK": "1",
            "OMP_NUM_THREADS": "1",
        }
        told = self.env | {
            "PREFECT_API_DATABASE_CONNECTION_URL": self.database,
            "NEPENTHE_SERVER_HOST": "127.0.0.1",
            "NEPENTHE_SERVER_PORT": str(self.port),
            # So that a test need not wait for what people would not mind to wait for.
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "3",
            "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT1S",
        }
        self._program = Program([str(DEPLOY / "server.sh")], self.folder / "server.log", told)

    @property
    def url(self) -> str:
        """The API's address."""
        return f"http://127.0.0.1:{self.port}/api"

    def start(self) -> "PrefectServer":
        """Start it and wait until it answers."""
        self._program.start()
        until(self.answers, f"the Prefect server: {self._program.tail()}", 180, every=0.5)
        return self

    def answers(self) -> bool:
        """Whether it and its database are in order."""
        import httpx

        assert self._program.runs, self._program.tail()
        try:
            return httpx.get(f"{self.url}/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def end(self, sign: int = signal.SIGTERM) -> None:
        """Stop it, by default as an operator would."""
        self._program.end(sign)

    def command(self, *words: str | Path, env: Mapping[str, str] | None = None) -> str:
        """Run a command beside the server and return what it printed."""
        done = subprocess.run(
            [str(word) for word in words],
            env=self.env | (env or {}),
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def worker(self, pool: str, name: str, env: Mapping[str, str] | None = None) -> Program:
        """A worker of a pool, as the operating guide starts it."""
        command = [str(DEPLOY / "worker.sh"), pool, "--name", name]
        return Program(command, self.folder / f"{name}.log", self.env | (env or {}), self.folder).start()


SLURM = """
ClusterName=nepenthe
SlurmctldHost=localhost
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,requeue_setup_env_fail
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=1
MinJobAge=3600
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName=localhost CPUs=16 RealMemory=100000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=gpu Nodes=localhost Default=YES State=UP MaxTime=INFINITE PriorityTier=1
PartitionName=urgent Nodes=localhost State=UP MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
"""


@dataclass
class Slurm:
    """Controller and one node of Slurm. Two partitions: urgent preempts gpu. Cores, memory and GPUs are only said."""

    folder: Path
    gpus: int = 1

    def __post_init__(self) -> None:
        munged, controller, daemon = (program(name) for name in ("munged", "slurmctld", "slurmd"))
        program("sbatch")
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        self.configuration = self.folder / "slurm.conf"
        self.configuration.write_text(
            SLURM.format(
                folder=self.folder,
                controller=free_port(),
                daemon=free_port(),
                user=pwd.getpwuid(os.geteuid()).pw_name,
                gpus=self.gpus,
            )
        )
        devices = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random")[: self.gpus]  # stand for GPUs
        lines = [f"NodeName=localhost Name=gpu File={device}\n" for device in devices]
        (self.folder / "gres.conf").write_text("".join(lines))
        self.env = {"SLURM_CONF": str(self.configuration)}
        self._programs = [
            Program(self._munge(munged), self.folder / "munged.log"),
            Program([controller, "-D", "-f", str(self.configuration)], self.folder / "slurmctld.log", self._told()),
            Program([daemon, "-D", "-N", "localhost", "-f", str(self.configuration)], self.folder / "slurmd.log"),
        ]
        self._programs[2].env = self._told()

    def _told(self) -> dict[str, str]:
        return dict(os.environ) | self.env

    def _munge(self, munged: str) -> list[str]:
        """munged in the foreground with a key of its own, below a folder that only its owner may write to."""
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        places = {"socket": "munge.socket", "pid-file": "munge.pid", "seed-file": "munge.seed", "log-file": "munge.log"}
        options = [f"--{name}={self.folder / place}" for name, place in places.items()]
        return [munged, "--foreground", "--force", f"--key-file={key}", *options]

    def start(self) -> "Slurm":
        """Start all three and wait until the node is idle."""
        for one in self._programs:
            one.start()
        until(lambda: "idle" in self.told("sinfo", "-h", "-o", "%T"), f"Slurm's node\n{self.tail()}", 40, every=0.3)
        return self

    def told(self, *words: str) -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(words, env=self._told(), capture_output=True, text=True, check=False, timeout=60)
        return done.stdout.strip()

    def tail(self) -> str:
        """The ends of the logs."""
        return "\n".join(f"{one.command[0]}:\n{one.tail()}" for one in self._programs)

    def end(self) -> None:
        """Cancel what is left, and stop all three."""
        self.told("scancel", "--user", str(os.geteuid()))
        for one in reversed(self._programs):
            one.end()


class Api:
    """What the tests ask of Prefect's API; a server that is away is asked again for a while."""

    def __init__(self, url: str) -> None:
        import httpx

        self._client = httpx.Client(base_url=f"{url}/", timeout=30)
        self._away = (httpx.TransportError, httpx.HTTPStatusError)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, method: str, path: str, patience: float = 60, **content: Any) -> Any:
        """The answer of a call, as JSON."""
        deadline = time.monotonic() + patience
        while True:
            try:
                answer = self._client.request(method, path, json=content or None)
                assert answer.is_server_error or not answer.is_error, f"{path}: {answer.text}"
                answer.raise_for_status()
                return answer.json() if answer.content else None
            except self._away:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def start(self, job: dict[str, Any], root: Path, deployment: str = "unlearn/cpu") -> str:
        """Have a deployment run a job; the run's id."""
        found = self.ask("GET", f"deployments/name/{deployment}")
        asked = {"parameters": {"job": job, "root": str(root)}, "state": {"type": "SCHEDULED"}}
        run: str = self.ask("POST", f"deployments/{found['id']}/create_flow_run", **asked)["id"]
        return run

    def state(self, run: str) -> dict[str, Any]:
        """The run's state: type, name, message."""
        state: dict[str, Any] = self.ask("GET", f"flow_runs/{run}")["state"]
        return state

    def ends(self, run: str, seconds: float = 120) -> str:
        """Wait for the run's end; the name of its last state."""
        until(lambda: self.state(run)["type"] in ENDS, f"the end of {run}", seconds, every=0.5)
        name: str = self.state(run)["name"]
        return name

    def stages(self, root: Path, kind: str = "") -> list[dict[str, Any]]:
        """The runs of the flow `stage` in a workspace, the oldest first, by default of every kind."""
        asked = {"flows": {"name": {"any_": ["stage"]}}, "sort": "EXPECTED_START_TIME_ASC"}
        orders = [(run, run["parameters"]["order"]) for run in self.ask("POST", "flow_runs/filter", **asked)]
        return [run for run, order in orders if order["address"] == str(root) and kind in ("", order["artifact"][0])]


def processes_of(run: str) -> list[int]:
    """The processes that carry out a flow run on this machine."""
    mark, found = f"PREFECT__FLOW_RUN_ID={run}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def kill_run(run: str, sign: int = signal.SIGKILL) -> None:
    """A signal, by default SIGKILL, to all processes of a flow run."""
    pids = processes_of(run)
    assert pids, f"no process carries out {run}"
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, sign)
