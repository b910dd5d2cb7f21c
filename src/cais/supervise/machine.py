"""The life of one instance, as a pure function: `step(life, event) -> life, actions`.

No clock, no kernel: times come with events, what is to be done goes out as actions. `run` counts the spawns of a
life; whatever an earlier run still says (a late exit, an old timer, a slow probe) is ignored, so events may come
late, twice, or in any order. Promises, held by tests: never two processes; every stop ends; nothing restarts that
somebody stopped.

What the rules copy: moby `restartmanager/restartmanager.go` (restarts and their backoff), `daemon/health.go` (when a
probe runs and what it changes), `daemon/kill.go` and `stop.go` (what counts as stopped by hand).
"""

import signal
from typing import NamedTuple

from cais.supervise.api import Health, HealthWord, InstanceSpec, Phase

FIRST_BACKOFF, LONGEST_BACKOFF, STEADY = 0.1, 60.0, 10.0
# An instance that died this often in a row, each time before it was STEADY, is in a crash loop: nobody should wait
# for it any longer. The policy goes on restarting it.
CRASH_LOOP = 5
HEALTH_OUTPUT = 4096  # moby keeps that much of a probe's output,
HEALTH_LOG = 5  # and that many results


class Life(NamedTuple):
    """An instance as the machine sees it. `goal` is what commands asked for last: run, rest, again (stop, then run)
    or gone (stop, then remove)."""

    spec: InstanceSpec
    phase: Phase = "created"
    goal: str = "rest"
    run: int = 0
    pid: int = 0
    started: float = 0.0
    finished: float = 0.0
    exit_code: int = 0
    restarts: int = 0  # what `inspect` shows
    crashes: int = 0  # in a row, each before it was STEADY
    grace: float = 0.0  # of the stop under way
    backoff: float = 0.0
    health: HealthWord = ""
    streak: int = 0
    probe: int = 0  # counts probes of this run
    probing: float = 0.0  # when the running probe began; 0 = none runs
    health_log: tuple[str, ...] = ()
    error: str = ""

    @property
    def crash_looping(self) -> bool:
        return self.crashes >= CRASH_LOOP and self.phase == "restarting"


# Events


class Start(NamedTuple):
    """A command wants it to run."""


class Ready(NamedTuple):
    """What it depends on is as it must be."""


class Blocked(NamedTuple):
    """What it depends on will never be as it must be."""

    why: str


class Spawned(NamedTuple):
    run: int
    pid: int
    at: float


class SpawnFailed(NamedTuple):
    run: int
    why: str
    at: float
    exit_code: int = 127


class Exited(NamedTuple):
    run: int
    code: int
    at: float


class Stop(NamedTuple):
    """Stop it, then: `rest`, `again` or `gone`. `grace` None is the spec's; a negative one waits for ever (Docker)."""

    then: str = "rest"
    grace: float | None = None
    at: float = 0.0


class Kill(NamedTuple):
    signum: int
    at: float


class GraceOver(NamedTuple):
    run: int


class BackoffOver(NamedTuple):
    run: int


class ProbeDue(NamedTuple):
    run: int
    probe: int
    at: float


class ProbeEnded(NamedTuple):
    """`code` -1: it took longer than `timeout` and was killed."""

    run: int
    probe: int
    code: int
    output: str
    at: float


Event = (
    Start
    | Ready
    | Blocked
    | Spawned
    | SpawnFailed
    | Exited
    | Stop
    | Kill
    | GraceOver
    | BackoffOver
    | ProbeDue
    | ProbeEnded
)

# Actions


class AskDependencies(NamedTuple):
    """Answer `Ready` or `Blocked` as soon as it is known."""


class Spawn(NamedTuple):
    run: int


class Signal(NamedTuple):
    signum: int


class Timer(NamedTuple):
    """Send `event` after `seconds`; its `at` is filled in then. A new timer of the same type replaces the old."""

    seconds: float
    event: GraceOver | BackoffOver | ProbeDue


class Probe(NamedTuple):
    """Run the healthcheck; answer `ProbeEnded`, at the latest after its timeout, with the process killed."""

    run: int
    probe: int


class Tell(NamedTuple):
    """Something happened that people and other lives may want to know; `kind` as in supervise.api.Event."""

    kind: str
    detail: str = ""


class Remove(NamedTuple):
    """Nothing of it runs: throw its upper away and forget it."""


Action = AskDependencies | Spawn | Signal | Timer | Probe | Tell | Remove
Step = tuple[Life, tuple[Action, ...]]


def step(life: Life, event: Event) -> Step:
    """The next life, and what must be done for it."""
    match event:
        case Start():
            return _start(life)
        case Ready():
            if life.phase != "waiting":
                return life, ()
            return _spawn(life)
        case Blocked(why):
            if life.phase != "waiting":
                return life, ()
            rest: Phase = "exited" if life.run else "created"
            return life._replace(phase=rest, goal="rest", error=why), (Tell("failed", why),)
        case Spawned(run, pid, at):
            return _spawned(life, run, pid, at)
        case SpawnFailed(run, why, at, exit_code):
            if run != life.run or life.phase not in ("starting", "stopping"):
                return life, ()
            life = life._replace(finished=at, exit_code=exit_code, pid=0, error=why)
            if life.phase == "stopping":
                return _ended(life, Tell("exited", why))
            return life._replace(phase="exited", goal="rest"), (Tell("failed", why),)
        case Exited(run, code, at):
            if run != life.run or life.phase not in ("starting", "running", "stopping"):
                return life, ()
            return _exited(life, code, at)
        case Stop(then, grace, _):
            return _stop(life, then, grace)
        case Kill(signum, _):
            return _kill(life, signum)
        case GraceOver(run):
            if run != life.run or life.phase != "stopping":
                return life, ()
            return life, (Signal(signal.SIGKILL),)
        case BackoffOver(run):
            if run != life.run or life.phase != "restarting":
                return life, ()
            return _spawn(life)
        case ProbeDue(run, probe, at):
            if run != life.run or life.phase != "running" or probe != life.probe + 1 or life.probing:
                return life, ()
            return life._replace(probe=probe, probing=at), (Probe(run, probe),)
        case ProbeEnded():
            return _probe_ended(life, event)


def _start(life: Life) -> Step:
    match life.phase:
        case "created" | "exited":
            life = life._replace(phase="waiting", goal="run", error="", crashes=0, backoff=0.0, restarts=0)
            return life, (AskDependencies(),)
        case "stopping" if life.goal == "rest":
            return life._replace(goal="again"), ()
        case _:  # on its way, or being removed
            return life, ()


def _spawn(life: Life) -> Step:
    run = life.run + 1
    life = life._replace(
        phase="starting", run=run, error="", health="", streak=0, probe=0, probing=0.0, health_log=(), exit_code=0
    )
    return life, (Spawn(run), Tell("starting"))


def _spawned(life: Life, run: int, pid: int, at: float) -> Step:
    if run != life.run:
        return life, ()
    match life.phase:
        case "starting":
            life = life._replace(phase="running", pid=pid, started=at)
            health = life.spec.health
            if health is None:
                return life, (Tell("started"),)
            life = life._replace(health="starting")
            return life, (Tell("started"), Timer(_pause(life, health, at), ProbeDue(run, 1, 0.0)))
        case "stopping" if not life.pid:  # asked to stop while it was being made
            life = life._replace(pid=pid, started=at)
            return life, (Signal(life.spec.stop_signal), *_overtime(life))
        case _:
            return life, ()


def _pause(life: Life, health: Health, now: float) -> float:
    """Seconds to the next probe: moby's `getInterval` in daemon/health.go."""
    if now - life.started < health.start_period and life.health == "starting":
        return health.start_interval
    return health.interval


def _exited(life: Life, code: int, at: float) -> Step:
    ran = at - life.started if life.pid else 0.0
    life = life._replace(exit_code=code, finished=at, pid=0, health="", probing=0.0, started=life.started or at)
    told = Tell("exited", str(code))
    if life.phase == "stopping":
        return _ended(life, told)
    if ran >= STEADY:
        life = life._replace(backoff=0.0, crashes=0)
    backoff = min(life.backoff * 2, LONGEST_BACKOFF) if life.backoff else FIRST_BACKOFF
    life = life._replace(backoff=backoff, crashes=life.crashes + 1)
    if life.goal != "run" or not _wants_restart(life):
        return life._replace(phase="exited"), (told,)
    life = life._replace(phase="restarting", restarts=life.restarts + 1)
    return life, (told, Tell("restarting"), Timer(backoff, BackoffOver(life.run)))


def _wants_restart(life: Life) -> bool:
    policy = life.spec.restart
    match policy.policy:
        case "always" | "unless-stopped":
            return True
        case "on-failure":
            return life.exit_code != 0 and (not policy.max_retries or life.restarts < policy.max_retries)
        case _:
            return False


def _ended(life: Life, *told: Action) -> Step:
    """It stopped because somebody asked: on to what was to come then."""
    life = life._replace(pid=0)
    match life.goal:
        case "again":
            life = life._replace(phase="waiting", goal="run", crashes=0, backoff=0.0, error="")
            return life, (*told, AskDependencies())
        case "gone":
            return life._replace(phase="removing"), (*told, Tell("stopped"), Remove())
        case _:
            return life._replace(phase="exited", goal="rest"), (*told, Tell("stopped"))


def _stop(life: Life, then: str, grace: float | None) -> Step:
    if life.phase == "removing" or (life.goal == "gone" and then != "gone" and life.phase == "stopping"):
        return life, ()
    life = life._replace(goal=then, grace=life.spec.stop_grace if grace is None else grace)
    overtime = _overtime(life)
    match life.phase:
        case "running":
            life = life._replace(phase="stopping")
            return life, (Tell("stopping"), Signal(life.spec.stop_signal), *overtime)
        case "starting":  # the signal follows when it is there: `_spawned`
            return life._replace(phase="stopping"), (Tell("stopping"), *overtime)
        case "stopping":  # asked again: a new grace begins, the signal is not repeated (moby)
            return life, overtime
        case "restarting":
            return _ended(life)
        case _:
            if then == "rest":
                rest: Phase = "exited" if life.run else "created"
                return life._replace(phase=rest), ()
            return _ended(life)


def _overtime(life: Life) -> tuple[Action, ...]:
    return (Timer(life.grace, GraceOver(life.run)),) if life.grace >= 0 else ()


def _kill(life: Life, signum: int) -> Step:
    final = signum == signal.SIGKILL or signum == life.spec.stop_signal
    match life.phase:
        case "running":
            if signum == signal.SIGKILL:
                return life._replace(phase="stopping", goal="rest"), (Signal(signum),)
            return life._replace(goal="rest" if final else life.goal), (Signal(signum),)
        case "stopping":
            return life, (Signal(signum),)
        case "starting" if final:
            return life._replace(phase="stopping", goal="rest", grace=0.0), ()
        case "restarting" | "waiting" if final:
            return _stop(life, "rest", 0.0)
        case _:
            return life, ()


def _probe_ended(life: Life, event: ProbeEnded) -> Step:
    health = life.spec.health
    if event.run != life.run or event.probe != life.probe or not life.probing or health is None:
        return life, ()
    began, before = life.probing, life.health
    log = (*life.health_log, event.output[-HEALTH_OUTPUT:])[-HEALTH_LOG:]
    life = life._replace(probing=0.0, health_log=log)
    if life.phase != "running":
        return life, ()
    if event.code == 0:
        life = life._replace(health="healthy", streak=0)
    elif not (before == "starting" and began - life.started < health.start_period):
        streak = life.streak + 1
        life = life._replace(streak=streak, health="unhealthy" if streak >= health.retries else before)
    told = (Tell(life.health, event.output[-400:] if event.code else ""),) if life.health != before else ()
    due = Timer(_pause(life, health, event.at), ProbeDue(life.run, life.probe + 1, 0.0))
    return life, (*told, due)
