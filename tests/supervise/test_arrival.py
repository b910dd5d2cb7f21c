"""Who is unhealthy only because what it needs is still coming has not failed yet."""

import asyncio
import time
from pathlib import Path
from typing import Any

from cais.sandbox.api import Net, Process, Root
from cais.supervise.api import Dependency, Health, InstanceSpec
from cais.supervise.arrival import arrival
from cais.supervise.instance import Instance
from cais.supervise.messages import Done
from cais.supervise.supervisor import Supervisor

HEALTH = Health(argv=("true",), retries=3)


async def _no_sandbox(*_: object) -> Any:
    raise AssertionError("nothing is started here")


def _spec(service: str, *needs: str) -> InstanceSpec:
    return InstanceSpec(
        id=f"t-{service}-1",
        service=service,
        number=1,
        config_hash="",
        root=Root(layers=(), upper="/nonexistent/u"),
        process=Process(argv=("true",)),
        net=Net(mode="none"),
        health=HEALTH,
        depends_on=tuple(Dependency(service=name, condition="service_healthy") for name in needs),
    )


def _play(home: Path, steps: list[dict[str, Any]]) -> tuple[Done, int]:
    """db, then schema, which needs it, then api, which needs schema; `steps` change their lives one after another."""

    async def play() -> tuple[Done, int]:
        (home / "logs").mkdir()
        supervisor = Supervisor(home, "t", _no_sandbox)
        specs = (_spec("db"), _spec("schema", "db"), _spec("api", "schema"))
        for spec in specs:
            instance = supervisor.instances[spec.id] = Instance(supervisor, spec)
            healthy: dict[str, Any] = {"phase": "running", "goal": "run", "run": 1, "pid": 1, "health": "healthy"}
            instance.life = instance.life._replace(started=time.time() - 60, **healthy)
        supervisor.instances["t-api-1"].life = supervisor.instances["t-api-1"].life._replace(
            health="unhealthy", streak=5
        )
        targets = list(supervisor.instances.values())
        waiting: asyncio.Future[Done] | None = None
        taken = 0
        for step in steps:
            taken += 1
            for service, change in step.items():
                instance = supervisor.instances[f"t-{service}-1"]
                instance.life = instance.life._replace(**change)
            waiting = waiting or asyncio.ensure_future(arrival(supervisor, targets, wait=True, timeout=None))
            supervisor.changed()
            for _ in range(10):
                await asyncio.sleep(0)
            if waiting.done():
                break
        assert waiting is not None
        done = await asyncio.wait_for(waiting, 5)
        if supervisor._save_due is not None:
            supervisor._save_due.cancel()
        return done, taken

    return asyncio.run(play())


STARTING: dict[str, Any] = {"phase": "starting", "health": ""}
HEALTHY: dict[str, Any] = {"phase": "running", "health": "healthy"}


def test_one_that_recovers_after_what_it_needs_has_come_is_there(tmp_path: Path) -> None:
    recovered: dict[str, Any] = {"health": "healthy", "streak": 0}
    done, _ = _play(tmp_path, [{"db": STARTING}, {"api": {"streak": 9}}, {"db": HEALTHY}, {"api": recovered}])
    assert done.exit_code == 0


def test_it_has_failed_when_its_allowed_checks_fail_once_more(tmp_path: Path) -> None:
    steps: list[dict[str, Any]] = [{"db": STARTING}, {"db": HEALTHY}, {"api": {"streak": 7}}, {"api": {"streak": 8}}]
    done, taken = _play(tmp_path, steps)
    assert taken == 4
    assert done.exit_code == 1 and [failure.service for failure in done.failures] == ["api"]
    assert "8 checks in a row failed" in done.failures[0].why


def test_without_anything_that_is_still_coming_unhealthy_is_a_failure_at_once(tmp_path: Path) -> None:
    done, taken = _play(tmp_path, [{}])
    assert taken == 1 and done.exit_code == 1


def test_one_that_waits_for_the_sick_one_excuses_nothing(tmp_path: Path) -> None:
    done, taken = _play(tmp_path, [{"api": STARTING, "db": {"health": "unhealthy", "streak": 3}}])
    assert taken == 1 and [failure.service for failure in done.failures] == ["db"]
