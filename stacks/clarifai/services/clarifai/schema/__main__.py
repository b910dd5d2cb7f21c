"""Lays the schemas in Postgres and Neo4j and ends with 0. Running it again changes nothing, unless the number of
dimensions changed: then the stored vectors are dropped and the scheduler embeds every block again."""

import logging
import sys
import time
from collections.abc import Callable
from importlib.resources import files

import psycopg
from neo4j import GraphDatabase
from neo4j.exceptions import DriverError, Neo4jError, ServiceUnavailable

from clarifai import jsonlog
from clarifai.databases import neo4j_access, postgres_conninfo
from clarifai.environment import number, setting

log = logging.getLogger("clarifai.schema")
LOCK = 20260001  # two schema steps at once would trip over each other's CREATE … IF NOT EXISTS
PATIENCE = 60.0


def lay_postgres(conninfo: str, dimensions: int) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        with connection.transaction():
            connection.execute(files(__package__).joinpath("postgres.sql").read_bytes())
            lay_vectors(connection, dimensions)


def lay_vectors(connection: psycopg.Connection, dimensions: int) -> None:
    for table in ("block", "concept"):
        row = connection.execute(
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = %s::regclass AND attname = 'embedding' AND NOT attisdropped",
            [table],
        ).fetchone()
        if row and row[0] == f"vector({dimensions})":
            continue
        if row:
            log.warning("dimensions changed", extra={"table": table, "was": row[0], "dimensions": dimensions})
        connection.execute(f"ALTER TABLE {table} DROP COLUMN IF EXISTS embedding")
        connection.execute(f"ALTER TABLE {table} ADD COLUMN embedding vector({dimensions})")
        connection.execute(f"UPDATE {table} SET embedded_with = NULL")
        connection.execute(f"CREATE INDEX {table}_embedding ON {table} USING hnsw (embedding vector_cosine_ops)")


def lay_neo4j(uri: str, user: str, password: str) -> None:
    text = files(__package__).joinpath("neo4j.cypher").read_text(encoding="utf-8")
    statements = [part for part in without_comments(text).split(";") if part.strip()]
    with GraphDatabase.driver(uri, auth=(user, password)) as driver, driver.session() as session:
        for statement in statements:
            session.run(statement).consume()


def without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("//"))


def main() -> int:
    jsonlog.set_up("schema", setting("LOG_LEVEL", "INFO"))
    started = time.monotonic()
    steps: dict[str, Callable[[], None]] = {
        "postgres": lambda: lay_postgres(postgres_conninfo(), int(number("EMBEDDING_DIMENSIONS", 384))),
        "neo4j": lambda: lay_neo4j(*neo4j_access()),
    }
    for name, lay in steps.items():
        while True:
            try:
                lay()
                break
            except (psycopg.OperationalError, ServiceUnavailable) as error:
                if time.monotonic() - started > PATIENCE:
                    log.error("no answer", extra={"database": name, "error": str(error)})
                    return 1
                log.info("waiting", extra={"database": name, "error": str(error).splitlines()[0]})
                time.sleep(0.25)
            except (psycopg.Error, Neo4jError, DriverError) as error:
                log.error("cannot lay the schema", extra={"database": name, "error": str(error)})
                return 1
        log.info("schema laid", extra={"database": name, "seconds": round(time.monotonic() - started, 3)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
