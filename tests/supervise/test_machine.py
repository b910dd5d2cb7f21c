"""Promises of the pure machine: Docker's timing rules one by one, then random events against what must always hold."""

import signal

from hypothesis import given, settings
from hypothesis import strategies as st

from cais.sandbox.api import Net, Process, Root
from cais.supervise import machine as m
from cais.supervise.api import Health, InstanceSpec, Restart


def spec(**more) -> InstanceSpec:
    return InstanceSpec(
        id="p-api-1",
        service="api",
        number=1,
        config_hash="",
        root=Root(layers=(), upper=""),
        process=Process(argv=("true",)),
        net=Net(),
        **more,
    )


class Play:
    """Feeds events and keeps what the machine wanted done."""

    def __init__(self, **more) -> None:
        self.life = m.Life(spec(**more))
        self.actions: list[m.Action] = []

    def __call__(self, *events: m.Event) -> "Play":
        for event in events:
            self.life, actions = m.step(self.life, event)
            self.actions = list(actions)
        return self

    def up(self, at: float = 100.0) -> "Play":
        self(m.Start(), m.Ready())
        return self(m.Spawned(self.life.run, 7, at))

    def timer(self, kind: type) -> float | None:
        return next((a.seconds for a in self.actions if isinstance(a, m.Timer) and type(a.event) is kind), None)

    def probe(self, code: int, at: float) -> "Play":
        """The probe that is due begins at `at` and ends at once."""
        self(m.ProbeDue(self.life.run, self.life.probe + 1, at))
        return self(m.ProbeEnded(self.life.run, self.life.probe, code, "words", at))


def test_backoff_begins_at_100_ms_and_doubles_up_to_a_minute():
    play = Play(restart=Restart(policy="always"))
    play.up(100.0)
    waits = []
    for _ in range(12):
        play(m.Exited(play.life.run, 1, 100.5))
        waits.append(play.timer(m.BackoffOver))
        play(m.BackoffOver(play.life.run))
        play(m.Spawned(play.life.run, 7, 100.0))
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0]


def test_ten_seconds_of_running_reset_the_backoff():
    play = Play(restart=Restart(policy="always")).up(100.0)
    for _ in range(4):
        play(m.Exited(play.life.run, 1, 100.5), m.BackoffOver(play.life.run))
        play(m.Spawned(play.life.run, 7, 100.0))
    play(m.Exited(play.life.run, 1, 110.0))
    assert play.timer(m.BackoffOver) == 0.1


def test_on_failure_counts_its_retries_and_leaves_success_alone():
    play = Play(restart=Restart(policy="on-failure", max_retries=2)).up()
    for expected in ("restarting", "restarting", "exited"):
        play(m.Exited(play.life.run, 3, 101.0))
        assert play.life.phase == expected
        play(m.BackoffOver(play.life.run), m.Spawned(play.life.run, 7, 101.0))
    well = Play(restart=Restart(policy="on-failure")).up()(m.Exited(1, 0, 101.0))
    assert well.life.phase == "exited"


def test_what_somebody_stopped_stays_stopped_under_every_policy():
    for policy in ("always", "unless-stopped", "on-failure"):
        play = Play(restart=Restart(policy=policy)).up()
        play(m.Stop(at=101.0), m.Exited(1, 137, 102.0))
        assert play.life.phase == "exited"


def test_kill_by_hand_is_no_crash_but_a_hangup_is_only_a_signal():
    killed = Play(restart=Restart(policy="always")).up()(m.Kill(signal.SIGKILL, 101.0), m.Exited(1, 137, 101.0))
    assert killed.life.phase == "exited"
    told = Play(restart=Restart(policy="always")).up()(m.Kill(signal.SIGHUP, 101.0))
    assert told.actions == [m.Signal(signal.SIGHUP)] and told.life.phase == "running"
    assert told(m.Exited(1, 1, 102.0)).life.phase == "restarting"


def test_stop_sends_its_signal_then_kill_when_the_grace_is_over():
    play = Play(stop_signal=signal.SIGINT, stop_grace=3.0).up()(m.Stop(at=101.0))
    assert m.Signal(signal.SIGINT) in play.actions
    assert play.timer(m.GraceOver) == 3.0
    assert play(m.GraceOver(1)).actions == [m.Signal(signal.SIGKILL)]


def test_stop_during_the_start_ends_what_was_being_started():
    play = Play()(m.Start(), m.Ready(), m.Stop(grace=2.0, at=1.0))
    assert play.life.phase == "stopping"
    play(m.GraceOver(1), m.Spawned(1, 7, 4.0))
    assert play.actions == [m.Signal(15), m.Timer(2.0, m.GraceOver(1))]


def test_stop_during_backoff_ends_at_once():
    play = Play(restart=Restart(policy="always")).up()(m.Exited(1, 1, 101.0), m.Stop(at=101.0))
    assert play.life.phase == "exited"
    assert play(m.BackoffOver(1)).actions == []


def test_restart_waits_for_the_end_and_then_for_its_dependencies():
    play = Play().up()(m.Stop(then="again", at=101.0), m.Exited(1, 0, 101.5))
    assert play.life.phase == "waiting"
    assert m.AskDependencies() in play.actions


def test_first_probe_comes_after_the_interval_not_at_once():
    play = Play(health=Health(argv=("x",), interval=30.0, start_interval=5.0)).up()
    assert play.timer(m.ProbeDue) == 30.0  # without a start_period, start_interval has no say (moby getInterval)


def test_probes_come_at_start_interval_only_while_starting_in_the_start_period():
    health = Health(argv=("x",), interval=30.0, start_period=10.0, start_interval=0.5)
    play = Play(health=health).up(100.0)
    assert play.timer(m.ProbeDue) == 0.5
    assert play.probe(1, 101.0).timer(m.ProbeDue) == 0.5
    assert play.probe(0, 102.0).timer(m.ProbeDue) == 30.0
    late = Play(health=health).up(100.0).probe(1, 110.0)
    assert late.timer(m.ProbeDue) == 30.0


def test_failures_in_the_start_period_do_not_count_and_success_ends_it():
    health = Health(argv=("x",), interval=1.0, start_period=10.0, start_interval=1.0, retries=2)
    play = Play(health=health).up(100.0)
    for at in range(101, 110):
        play.probe(1, float(at))
    assert (play.life.health, play.life.streak) == ("starting", 0)
    play.probe(0, 109.5)
    assert play.life.health == "healthy"
    assert play.probe(1, 109.6).life.health == "healthy"
    assert play.probe(1, 109.7).life.health == "unhealthy"
    assert play.probe(0, 109.8).life.health == "healthy"


def test_a_check_that_took_too_long_counts_as_a_failure():
    play = Play(health=Health(argv=("x",), retries=1)).up(100.0).probe(-1, 131.0)
    assert play.life.health == "unhealthy"


def test_an_unhealthy_instance_goes_on_running():
    play = Play(health=Health(argv=("x",), retries=1), restart=Restart(policy="always")).up().probe(1, 131.0)
    assert play.life.phase == "running"


def test_a_crash_loop_is_seen_after_five_quick_ends():
    play = Play(restart=Restart(policy="always")).up()
    for number in range(5):
        assert not play.life.crash_looping, number
        play(m.Exited(play.life.run, 1, 100.2))
        if number < 4:
            play(m.BackoffOver(play.life.run), m.Spawned(play.life.run, 7, 100.0))
    assert play.life.crash_looping


def test_a_failed_start_is_told_and_not_tried_again():
    play = Play(restart=Restart(policy="always"))(m.Start(), m.Ready(), m.SpawnFailed(1, "no such file", 1.0))
    assert play.life.phase == "exited" and play.life.error == "no such file"
    assert [type(a) for a in play.actions] == [m.Tell]


# -- random events ----------------------------------------------------------------------------------------------------

runs = st.integers(0, 4)
times = st.floats(0, 1000)
events = st.one_of(
    st.just(m.Start()),
    st.just(m.Ready()),
    st.builds(m.Blocked, st.just("why")),
    st.builds(m.Spawned, runs, st.just(9), times),
    st.builds(m.SpawnFailed, runs, st.just("why"), times),
    st.builds(m.Exited, runs, st.integers(0, 255), times),
    st.builds(m.Stop, st.sampled_from(["rest", "again", "gone"]), st.sampled_from([None, 0.0, 5.0]), times),
    st.builds(m.Kill, st.sampled_from([1, 9, 15]), times),
    st.builds(m.GraceOver, runs),
    st.builds(m.BackoffOver, runs),
    st.builds(m.ProbeDue, runs, runs, times),
    st.builds(m.ProbeEnded, runs, runs, st.integers(-1, 1), st.just(""), times),
)
policies = st.builds(Restart, policy=st.sampled_from(["no", "always", "on-failure", "unless-stopped"]))


@settings(max_examples=400, deadline=None)
@given(policies, st.lists(events, max_size=60))
def test_there_are_never_two_processes_whatever_comes(policy, happened):
    """A spawn is only asked for when the one before has ended or failed, by the machine's own account of `run`."""
    life = m.Life(spec(restart=policy, health=Health(argv=("x",))))
    open_runs: set[int] = set()  # spawned, as far as the machine was told, and not ended
    for event in happened:
        if isinstance(event, m.Exited | m.SpawnFailed):
            if event.run not in open_runs:
                event = event._replace(run=-1)  # nobody reports the end of what was never asked for
            open_runs.discard(event.run)
        if isinstance(event, m.Spawned) and event.run not in open_runs:
            continue
        life, actions = m.step(life, event)
        for action in actions:
            if isinstance(action, m.Spawn):
                assert not open_runs
                open_runs.add(action.run)
            if isinstance(action, m.Remove):
                assert not open_runs
    assert len(open_runs) <= 1
    assert bool(open_runs) == (life.phase in ("starting", "running", "stopping"))


@settings(max_examples=400, deadline=None)
@given(policies, st.lists(events, max_size=40), st.sampled_from(["rest", "gone"]))
def test_a_stop_always_ends_when_the_kernel_does_its_part(policy, before, then):
    """After Stop, the world only answers what the machine asks: exits follow KILL, timers fire, spawns are answered."""
    life = m.Life(spec(restart=policy, health=Health(argv=("x",))))
    for event in before:
        if not isinstance(event, m.Spawned | m.SpawnFailed | m.Exited) or event.run == life.run:
            life, _ = m.step(life, event)
    life, actions = m.step(life, m.Stop(then, 5.0, 1000.0))
    pending: list[m.Event] = []
    if life.phase == "stopping" and not life.pid:
        pending.append(m.Spawned(life.run, 9, 1000.0))  # the spawn under way is answered
    pending.append(m.GraceOver(life.run))  # and a grace that is running ends
    for _ in range(20):
        for action in actions:
            if isinstance(action, m.Signal) and action.signum == signal.SIGKILL and life.pid:
                pending.append(m.Exited(life.run, 137, 1001.0))
            if isinstance(action, m.Timer) and isinstance(action.event, m.GraceOver):
                pending.append(action.event)
        if life.phase not in ("stopping", "starting", "running", "restarting", "waiting"):
            break
        assert pending, life
        life, actions = m.step(life, pending.pop(0))
    assert life.phase in ("created", "exited", "removing")


@settings(max_examples=300, deadline=None)
@given(policies, st.lists(events, max_size=40), events)
def test_a_repeated_event_of_an_earlier_run_changes_nothing(policy, happened, late):
    life = m.Life(spec(restart=policy, health=Health(argv=("x",))))
    for event in happened:
        life, _ = m.step(life, event)
    if isinstance(late, m.Start | m.Ready | m.Blocked | m.Stop | m.Kill):
        return
    assert m.step(life, late._replace(run=life.run - 1)) == (life, ())
