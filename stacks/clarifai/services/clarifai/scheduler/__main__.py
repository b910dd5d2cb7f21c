"""`python -m clarifai.scheduler`: runs each job at its times, once, however many schedulers there are.

APScheduler keeps the clock; the ledger in Postgres decides who runs a slot. Twice a minute every scheduler looks for a
slot nobody finished (all schedulers were down, Postgres was away, one died in the middle) and runs the latest one.
"""

import logging
import os
import secrets
import signal
import socket
import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from apscheduler.schedulers.background import BackgroundScheduler
from prometheus_client import Counter

from clarifai import coreclient, jsonlog
from clarifai.coreclient import Core, CoreAway, CoreRefused
from clarifai.databases import postgres_conninfo
from clarifai.environment import number, setting
from clarifai.scheduler.jobs import Job, all_jobs
from clarifai.scheduler.ledger import Ledger
from clarifai.scheduler.slots import latest_slot, next_slot
from clarifai.statuspage import Answer, Request, ready_answer, serve

log = logging.getLogger("clarifai.scheduler")
RUNS = Counter("clarifai_job_runs_total", "Runs of a job by this scheduler", ["job", "outcome"])
LATE = timedelta(seconds=5)  # a slot this old and unfinished is nobody's any more


class Scheduler:
    def __init__(self, jobs: list[Job], ledger: Ledger, core: Core, token: str) -> None:
        self.jobs = {job.name: job for job in jobs}
        self.ledger, self.core, self.token = ledger, core, token
        self.clock = BackgroundScheduler(timezone=UTC)
        self.next: dict[str, datetime] = {}

    def start(self) -> None:
        self.clock.start()
        self.clock.add_job(self.catch_up, "interval", seconds=30, next_run_time=datetime.now(UTC), max_instances=1)
        for job in self.jobs.values():
            self.plan(job)

    def plan(self, job: Job) -> None:
        slot = next_slot(job.trigger, datetime.now(UTC))
        self.next[job.name] = slot
        self.clock.add_job(self.fire, "date", run_date=slot, args=[job, slot], misfire_grace_time=None)

    def fire(self, job: Job, slot: datetime) -> None:
        self.plan(job)
        self.run(job, slot, "schedule")

    def run(self, job: Job, slot: datetime, cause: str) -> dict[str, Any] | None:
        """What the run said for itself, None when the slot is another scheduler's or the ledger does not answer."""
        try:
            with self.ledger.take(job.name, slot, cause) as run:
                if run is None:
                    RUNS.labels(job.name, "left to another").inc()
                    return None
                try:
                    run.detail = job.work(slot)
                except (CoreAway, CoreRefused, OSError) as error:
                    run.outcome, run.detail = "failed", {"error": str(error)}
                RUNS.labels(job.name, run.outcome).inc()
                level = logging.INFO if run.outcome == "done" else logging.WARNING
                log.log(level, "job ran", extra={"job": job.name, "slot": slot, "cause": cause, **vars(run)})
                return {"slot": slot, "outcome": run.outcome, "detail": run.detail}
        except psycopg.OperationalError as error:
            log.warning("ledger does not answer", extra={"job": job.name, "reason": str(error)})
            return None

    def catch_up(self) -> None:
        try:
            self.ledger.register(list(self.jobs))
            for job in self.jobs.values():
                slot = latest_slot(job.trigger, datetime.now(UTC) - LATE)
                if slot is not None and self.ledger.owed(job.name, slot):
                    self.run(job, slot, "catch-up")
        except psycopg.Error as error:
            log.warning("ledger does not answer", extra={"reason": str(error)})

    def jobs_page(self, _: Request) -> Answer:
        last = self.ledger.last_runs()
        rows = [
            {
                "name": job.name,
                "does": job.does,
                "schedule": job.crontab,
                "next_run": self.next.get(job.name),
                "last_run": last.get(job.name),
            }
            for job in self.jobs.values()
        ]
        return Answer(200, {"instance": self.ledger.instance, "jobs": rows})

    def ready_page(self, _: Request) -> Answer:
        return ready_answer({"postgres": self.ledger.state(), "core": self.core.state()})

    def run_page(self, request: Request) -> Answer:
        """POST /jobs/<name>/run: the job, now."""
        parts = request.path.strip("/").split("/")
        if len(parts) != 3 or parts[0] != "jobs" or parts[2] != "run" or parts[1] not in self.jobs:
            return Answer(404, {"error": "no such page"})
        if request.method != "POST":
            return Answer(405, {"error": "POST runs the job"})
        if not secrets.compare_digest(request.token.encode(), self.token.encode()):
            return Answer(401, {"error": "this needs `Authorization: Bearer <CORE_TOKEN>`"})
        self.ledger.register(list(self.jobs))
        outcome = self.run(self.jobs[parts[1]], datetime.now(UTC), "request")
        return Answer(200, outcome) if outcome else Answer(409, {"error": "it is running, or Postgres is away"})


def main() -> None:
    jsonlog.set_up("scheduler", setting("LOG_LEVEL", "INFO"))
    stopping = threading.Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, lambda *_: stopping.set())
    core = coreclient.from_environment()
    instance = f"{socket.gethostname()}-{uuid.uuid4().hex[:6]}"
    jobs = all_jobs(core, Path(setting("VAULT_PATH", "/vault")))
    scheduler = Scheduler(jobs, Ledger(postgres_conninfo(), instance), core, setting("CORE_TOKEN"))
    pages = {"/jobs": scheduler.jobs_page, "/ready": scheduler.ready_page}
    serve(int(number("PORT", 8001)), pages, scheduler.run_page)
    scheduler.start()
    log.info("started", extra={"instance": instance, "jobs": {job.name: job.crontab for job in jobs}})
    stopping.wait()
    log.info("stopped")
    # A job in the middle of its work is cut off, not waited for: its slot stays unfinished and is taken over.
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
