"""clarifai-core over HTTP. Reading is open to who reaches the port; whatever changes something needs the token."""

import logging
import secrets
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from neo4j import Driver
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from psycopg import Error as PostgresError
from psycopg import OperationalError
from psycopg_pool import PoolTimeout
from pydantic import BaseModel

from clarifai import __version__
from clarifai.core import graph, maintenance, notes, search
from clarifai.core.embedder import Embedder, EmbeddingUnavailable
from clarifai.notes.markdown import LARGEST, NoteError

log = logging.getLogger("clarifai.core")

STORED = Counter("clarifai_notes_stored_total", "Notes written because their text changed")
DELETED = Counter("clarifai_notes_deleted_total", "Notes removed")
EMBEDDED = Counter("clarifai_blocks_embedded_total", "Blocks that got a vector", ["cause"])
REFUSED = Counter("clarifai_files_refused_total", "Files that could not be read as notes")
SEARCHES = Histogram("clarifai_search_seconds", "Time of a search", buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5))
WAITING = Gauge("clarifai_graph_waiting_notes", "Notes whose projection into Neo4j is due")
RECOGNISE_EVERY = 15.0  # seconds between two looks whether the graph is still ours


class Move(BaseModel):
    old: str
    new: str


class Problem(BaseModel):
    path: str
    reason: str


def create_app(pool: notes.Pool, driver: Driver, embedder: Embedder, token: str) -> FastAPI:
    projector = Projector(pool, driver)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        pool.open(wait=False)
        projector.start()
        log.info("started", extra={"version": __version__, "embedding": embedder.name})
        yield
        projector.stop()
        pool.close(timeout=0.5)
        driver.close()
        log.info("stopped")

    app = FastAPI(title="ClarifAI core", version=__version__, lifespan=lifespan)

    def authorised(request: Request) -> None:
        given = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
        if not secrets.compare_digest(given.encode(), token.encode()):
            raise HTTPException(401, "this needs `Authorization: Bearer <CORE_TOKEN>`")

    writes = [Depends(authorised)]

    @app.exception_handler(OperationalError)
    @app.exception_handler(PoolTimeout)
    def postgres_away(_: Request, error: Exception) -> JSONResponse:
        log.warning("postgres failed", extra={"reason": str(error)})
        return JSONResponse({"detail": "Postgres does not answer; try again"}, 503, {"Retry-After": "1"})

    @app.exception_handler(EmbeddingUnavailable)
    def model_away(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 503, {"Retry-After": "5"})

    @app.get("/search")
    def find(
        q: Annotated[str, Query(min_length=1, max_length=500)], limit: Annotated[int, Query(ge=1, le=50)] = 10
    ) -> dict[str, Any]:
        with SEARCHES.time():
            return search.search(pool, driver, embedder, q, limit)

    @app.get("/concepts/{name:path}")
    def concept(name: str) -> dict[str, Any]:
        try:
            found = search.show_concept(pool, driver, name)
        except graph.GRAPH_ERRORS as error:
            raise HTTPException(503, f"Neo4j does not answer: {error}") from error
        if found is None:
            raise HTTPException(404, f"no claim mentions {name!r}")
        return found

    @app.get("/notes")
    def all_notes() -> dict[str, str]:
        return notes.known_notes(pool)

    @app.get("/notes/{path:path}")
    def note(path: str) -> dict[str, Any]:
        found = notes.show_note(pool, path)
        if found is None:
            raise HTTPException(404, f"no note at {path!r}")
        return found

    @app.get("/problems")
    def problems() -> list[dict[str, Any]]:
        return notes.problems(pool)

    @app.put("/notes/{path:path}", dependencies=writes)
    async def put_note(path: str, request: Request) -> JSONResponse:
        raw = bytearray()
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > LARGEST + 1:  # store_note says so; the rest need not be read
                break
        return await run_in_threadpool(store, path, bytes(raw))

    def store(path: str, raw: bytes) -> JSONResponse:
        try:
            stored = notes.store_note(pool, embedder, path, raw)
        except NoteError as error:
            REFUSED.inc()
            log.warning("file refused", extra={"path": path, "reason": str(error)})
            return JSONResponse({"detail": str(error)}, 422)
        if stored.changed:
            STORED.inc()
            EMBEDDED.labels("written").inc(stored.embedded)
        answer = stored._asdict() | {"note_id": str(stored.note_id)}
        if stored.changed:
            projector.wake()
            log.info("note stored", extra={"path": path, **answer})
        return JSONResponse(answer)

    @app.delete("/notes/{path:path}", dependencies=writes)
    def delete_note(path: str) -> dict[str, Any]:
        found = notes.delete_note(pool, path)
        DELETED.inc(found)
        if found:
            log.info("note deleted", extra={"path": path})
            projector.wake()
        return {"deleted": found}

    @app.post("/moves", dependencies=writes)
    def move(body: Move) -> dict[str, Any]:
        moved = notes.move_note(pool, body.old, body.new)
        if moved:
            log.info("note moved", extra={"path": body.new, "was": body.old})
        projector.wake()
        return {"moved": moved}

    @app.put("/problems", dependencies=writes)
    def report(body: Problem) -> dict[str, bool]:
        REFUSED.inc()
        notes.report_problem(pool, body.path, body.reason)
        return {"recorded": True}

    @app.post("/maintenance/re-embed", dependencies=writes)
    def re_embed() -> dict[str, int]:
        done = maintenance.re_embed(pool, embedder)
        EMBEDDED.labels("stale").inc(done)
        return {"embedded": done}

    @app.post("/maintenance/merge-concepts", dependencies=writes)
    def merge_concepts() -> dict[str, Any]:
        merged = maintenance.merge_concepts(pool, embedder)
        projector.wake()
        return {"merged": merged}

    @app.get("/digest")
    def digest(since: datetime, until: datetime) -> dict[str, Any]:
        return maintenance.digest(pool, since, until)

    @app.get("/health")
    def health() -> dict[str, bool]:
        return {"alive": True}

    @app.get("/ready")
    def ready() -> JSONResponse:
        checks = {"postgres": ask_postgres(pool), "neo4j": ask_neo4j(driver), "graph": projector.state()}
        well = not any(checks.values())
        return JSONResponse({"ready": well, "checks": {k: v or "ok" for k, v in checks.items()}}, 200 if well else 503)

    @app.get("/metrics")
    def metrics() -> Response:
        try:
            with pool.connection(timeout=0.5) as connection:
                WAITING.set(graph.waiting(connection))
        except (PostgresError, PoolTimeout):
            WAITING.set(float("nan"))
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return app


def ask_postgres(pool: notes.Pool) -> str | None:
    try:
        with pool.connection(timeout=1) as connection:
            connection.execute("SELECT 1 FROM identity")
    except (PostgresError, PoolTimeout) as error:
        return str(error)
    return None


def ask_neo4j(driver: Driver) -> str | None:
    try:
        graph.ask(driver, "RETURN 1")
    except graph.GRAPH_ERRORS as error:
        return str(error)
    return None


class Projector:
    """The thread that writes into the graph: soon after a change, and what an absence of Neo4j or a crash left undone
    once a second. Changes that come while it writes are written together next."""

    def __init__(self, pool: notes.Pool, driver: Driver) -> None:
        self.pool, self.driver = pool, driver
        self.due, self.stopping = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.run, name="projector", daemon=True)
        self.recognised = float("-inf")

    def start(self) -> None:
        self.thread.start()

    def wake(self) -> None:
        self.due.set()

    def state(self) -> str | None:
        """Ready means that a note saved now is in the graph soon: it is ours, and its statements are planned."""
        return None if self.recognised > float("-inf") else "not looked at yet"

    def stop(self) -> None:
        self.stopping.set()
        self.due.set()
        self.thread.join(timeout=1)

    def run(self) -> None:
        while not self.stopping.is_set():
            self.due.clear()
            try:
                self.once()
            except (*graph.GRAPH_ERRORS, PostgresError, PoolTimeout) as error:
                log.debug("graph waits", extra={"reason": str(error)})
                self.stopping.wait(0.5)
            except Exception:
                log.exception("projection failed")
                self.stopping.wait(1)
            self.due.wait(1)

    def once(self) -> None:
        if time.monotonic() - self.recognised > RECOGNISE_EVERY:
            graph.recognise(self.pool, self.driver)
            graph.warm(self.driver)
            search.warm(self.driver)
            self.recognised = time.monotonic()
        if done := graph.project(self.pool, self.driver):
            log.info("graph written", extra={"notes": done})
            self.due.set()
