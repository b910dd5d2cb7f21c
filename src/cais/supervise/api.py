"""The life of processes: what is wanted (`InstanceSpec`), what is (`InstanceState`), what happened (`Event`).

`machine.py` decides (pure), `supervisor.py` acts, `client.py` is how every command talks to it. Knows commands
and roots, not Compose. All values are JSON: they are the state files and the control socket's messages.
"""

from typing import Literal

from msgspec import Struct

from cais.sandbox.api import Net, NetworkSpec, PortSpec, Process, Root

Condition = Literal["service_started", "service_healthy", "service_completed_successfully"]


class Health(Struct, frozen=True, kw_only=True):
    """A healthcheck with every default filled in; times in seconds. `argv` runs inside the instance."""

    argv: tuple[str, ...]
    interval: float = 30.0
    timeout: float = 30.0
    start_period: float = 0.0
    start_interval: float = 5.0
    retries: int = 3


class Restart(Struct, frozen=True, kw_only=True):
    """Docker's restart policy. Backoff 100 ms, doubled each time up to one minute, reset after 10 s of running
    (Docker docs, "Start containers automatically"; moby restartmanager).
    """

    policy: Literal["no", "always", "on-failure", "unless-stopped"] = "no"
    max_retries: int = 0  # 0 = no limit, for on-failure


class Dependency(Struct, frozen=True, kw_only=True):
    """All instances of `service` must meet `condition` before this one starts."""

    service: str
    condition: Condition = "service_started"
    restart: bool = False  # restart me when it is restarted by a command
    required: bool = True


class Log(Struct, frozen=True, kw_only=True):
    max_size: int = 10 * 1024 * 1024
    max_file: int = 3


class InstanceSpec(Struct, frozen=True, kw_only=True):
    """All the supervisor needs to run one replica of one service, for ever, without the compose file."""

    id: str  # container name: "clarifai-postgres-1"
    service: str
    number: int
    config_hash: str
    root: Root
    process: Process
    net: Net
    ports: tuple[PortSpec, ...] = ()
    depends_on: tuple[Dependency, ...] = ()
    health: Health | None = None
    restart: Restart = Restart()
    stop_signal: int = 15
    stop_grace: float = 10.0
    log: Log = Log()
    oneoff: bool = False  # `cais run`
    attach: bool = True
    stdin_open: bool = False  # stdin is a pipe nobody closes, instead of /dev/null
    remove_on_exit: bool = False
    labels: dict[str, str] = {}
    image: str = ""  # as `ps` shows it
    fidelity: str = "real"
    differs: tuple[str, ...] = ()
    web_ports: tuple[int, ...] = ()
    span: str = ""  # file:line:col of the service, for errors
    volumes: tuple[str, ...] = ()  # anonymous volumes' directories that go with the instance


class Chore(Struct, frozen=True, kw_only=True):
    """A command that makes later starts faster, and that this start does not need (chores.py)."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    input: str = ""


class Desired(Struct, frozen=True, kw_only=True):
    """One project as wanted. `config_files` and `working_dir` are what `ls` shows."""

    project: str
    networks: tuple[NetworkSpec, ...]
    instances: tuple[InstanceSpec, ...]
    empty: tuple[str, ...] = ()  # services scaled to nothing
    config_files: tuple[str, ...] = ()
    working_dir: str = ""
    chores: tuple[Chore, ...] = ()


Phase = Literal["created", "waiting", "starting", "running", "restarting", "stopping", "exited", "removing"]
HealthWord = Literal["", "starting", "healthy", "unhealthy"]


class InstanceState(Struct, frozen=True, kw_only=True):
    """One instance as it is. Times are seconds since the epoch, 0 when never."""

    id: str
    service: str
    number: int
    phase: Phase
    health: HealthWord = ""
    pid: int = 0
    exit_code: int = 0
    created: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    restarts: int = 0
    addresses: dict[str, str] = {}
    ports: tuple[PortSpec, ...] = ()
    waits_for: str = ""  # "postgres to be healthy"
    error: str = ""  # why it could not start
    health_log: tuple[str, ...] = ()  # last outputs of a failing check
    streak: int = 0  # checks that failed in a row
    config_hash: str = ""


class Event(Struct, frozen=True, kw_only=True):
    """Something happened, in the words `up` shows: `kind` is created, waiting, starting, started, healthy,
    unhealthy, exited, restarting, stopping, stopped, removed, failed, noted (something asked could not be had: "what:
    why")."""

    at: float
    id: str
    service: str
    kind: str
    detail: str = ""
    exit_code: int = 0
