"""Which job ran when, kept in Postgres, so that any number of schedulers run each slot once.

A scheduler takes the job's advisory lock (its session's: gone when the process or its connection is) and then the
slot's row. Whoever comes while it runs finds the lock taken; whoever comes later finds the row finished. A row that is
unfinished while the lock is free was left by a scheduler that died, and is taken over. Times are Postgres's.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

JOBS = 20260100  # the class of our advisory locks: pg_try_advisory_lock(class, hash of the job's name)
KEEP_DAYS = 7


class Ledger:
    def __init__(self, conninfo: str, instance: str) -> None:
        self.conninfo, self.instance = conninfo, instance

    def connect(self) -> psycopg.Connection[DictRow]:
        return psycopg.connect(self.conninfo, autocommit=True, row_factory=dict_row)

    def register(self, names: list[str]) -> None:
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.executemany("INSERT INTO job (name) VALUES (%s) ON CONFLICT DO NOTHING", [[name] for name in names])

    @contextmanager
    def take(self, job: str, slot: datetime, cause: str) -> Iterator["Run | None"]:
        """A Run to fill in, or None when this slot is, or was, another's."""
        with self.connect() as connection:
            if not first(connection, "SELECT pg_try_advisory_lock(%s, hashtext(%s)) AS taken", [JOBS, job])["taken"]:
                yield None
                return
            row = connection.execute(
                "INSERT INTO job_run (job, slot, cause, instance) VALUES (%(job)s, %(slot)s, %(cause)s, %(me)s)"
                " ON CONFLICT (job, slot) DO UPDATE SET instance = %(me)s, started_at = now(), cause = %(cause)s"
                " WHERE job_run.finished_at IS NULL RETURNING slot",
                {"job": job, "slot": slot, "cause": cause, "me": self.instance},
            ).fetchone()
            if row is None:
                yield None
                return
            run = Run(job, slot)
            yield run
            self.finish(connection, run)

    def finish(self, connection: psycopg.Connection[DictRow], run: "Run") -> None:
        connection.execute(
            "UPDATE job_run SET finished_at = clock_timestamp(), outcome = %s, detail = %s"
            " WHERE job = %s AND slot = %s",
            [run.outcome, json.dumps(run.detail, default=str), run.job, run.slot],
        )
        connection.execute(
            "DELETE FROM job_run WHERE job = %s AND slot < now() - make_interval(days => %s)"
            " AND slot < (SELECT max(slot) FROM job_run WHERE job = %s)",
            [run.job, KEEP_DAYS, run.job],
        )

    def owed(self, job: str, slot: datetime) -> bool:
        """The slot came after the job was first known, and nobody finished it."""
        with self.connect() as connection:
            row = first(
                connection,
                "SELECT j.first_seen < %s AND r.finished_at IS NULL AS owed FROM job j"
                " LEFT JOIN job_run r ON r.job = j.name AND r.slot = %s WHERE j.name = %s",
                [slot, slot, job],
            )
            return bool(row["owed"])

    def last_runs(self) -> dict[str, dict[str, Any]]:
        with self.connect() as connection:
            rows = connection.execute(
                "SELECT DISTINCT ON (job) job, slot, cause, instance, started_at, finished_at, outcome, detail,"
                " (SELECT count(*) FROM job_run all_runs WHERE all_runs.job = job_run.job) AS runs"
                " FROM job_run ORDER BY job, started_at DESC"
            ).fetchall()
        return {row.pop("job"): row for row in rows}

    def state(self) -> str | None:
        try:
            with self.connect() as connection:
                connection.execute("SELECT 1 FROM job_run LIMIT 1")
        except psycopg.Error as error:
            return str(error)
        return None


class Run:
    """What a job that runs will have to say for itself."""

    def __init__(self, job: str, slot: datetime) -> None:
        self.job, self.slot = job, slot
        self.outcome = "done"
        self.detail: dict[str, Any] = {}


def first(connection: psycopg.Connection[DictRow], query: Any, values: list[Any]) -> DictRow:
    row = connection.execute(query, values).fetchone()
    assert row is not None
    return row
