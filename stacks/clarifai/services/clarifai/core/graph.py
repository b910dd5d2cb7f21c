"""The graph in Neo4j: a projection of Postgres, written note by note, and made again whenever it is not ours.

A thread of core calls `project` after every change and once a second: what could not be written while Neo4j was away,
or was cut off by a crash between the two databases, is written then. Postgres remembers which version of a note the
graph shows.
"""

import logging
from typing import Any

from neo4j import Driver, GraphDatabase, ManagedTransaction
from neo4j.exceptions import DriverError, Neo4jError
from psycopg import Connection
from psycopg.rows import DictRow

from clarifai.core.notes import Pool

log = logging.getLogger("clarifai.graph")
PROJECTOR = 20260003

GRAPH_ERRORS = (DriverError, Neo4jError)


def connect(uri: str, user: str, password: str) -> Driver:
    """Connects when first used. Short waits: a caller who is told "away" at once can go on without the graph."""
    return GraphDatabase.driver(
        uri,
        auth=(user, password),
        connection_timeout=2,
        connection_acquisition_timeout=4,
        max_transaction_retry_time=2,
        liveness_check_timeout=5,
    )


def ask(driver: Driver, query: str, **parameters: Any) -> list[dict[str, Any]]:
    with driver.session() as session:
        return session.run(query, parameters).data()


def recognise(pool: Pool, driver: Driver) -> None:
    """A graph that belongs to another database (a volume was removed or restored) is emptied and projected anew."""
    with pool.connection() as connection:
        row = connection.execute("SELECT id FROM identity").fetchone()
        assert row is not None
        mine = str(row["id"])
        if [found["of"] for found in ask(driver, "MATCH (p:Projection) RETURN p.of AS of")] == [mine]:
            return
        connection.execute("UPDATE note SET graph_version = 0")
    log.info("graph is made again")
    ask(
        driver,
        "MATCH (n) WHERE n:Note OR n:Block OR n:Claim OR n:Concept OR n:Projection"
        " CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 1000 ROWS",
    )
    ask(driver, "CREATE (:Projection {of: $of})", of=mine)


def project(pool: Pool, driver: Driver) -> int:
    """Brings the graph up to date; gives the number of notes written or removed."""
    with pool.connection() as connection:
        if waiting(connection) == 0:
            return 0
        # One projector at a time, and what it reads stays the newest until it has written it.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [PROJECTOR])
        gone = [str(row["id"]) for row in connection.execute("SELECT id FROM note_gone").fetchall()]
        notes = connection.execute(
            "SELECT id::text, path, title, version FROM note WHERE graph_version < version"
            " ORDER BY updated_at LIMIT 200"
        ).fetchall()
        with driver.session() as session:
            session.execute_write(write, gone, notes, *picture(connection, [note["id"] for note in notes]))
        connection.execute("DELETE FROM note_gone WHERE id = ANY(%s::uuid[])", [gone])
        with connection.cursor() as cursor:
            cursor.executemany("UPDATE note SET graph_version = %(version)s WHERE id = %(id)s", notes)
    return len(gone) + len(notes)


def waiting(connection: Connection[DictRow]) -> int:
    row = connection.execute(
        "SELECT (SELECT count(*) FROM note WHERE graph_version < version) + (SELECT count(*) FROM note_gone) AS n"
    ).fetchone()
    return int(row["n"]) if row else 0


def picture(connection: Connection[DictRow], notes: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Blocks and claims of these notes as Postgres has them, with text ids, as Cypher takes them."""
    blocks = connection.execute(
        "SELECT id::text, note_id::text AS note, position, kind, section FROM block WHERE note_id = ANY(%s::uuid[])",
        [notes],
    ).fetchall()
    claims = connection.execute(
        "SELECT c.id::text, c.block_id::text AS block, c.text,"
        " coalesce(array_agg(k.key) FILTER (WHERE k.key IS NOT NULL), '{}') AS keys,"
        " coalesce(array_agg(k.label) FILTER (WHERE k.key IS NOT NULL), '{}') AS labels"
        " FROM claim c JOIN block b ON b.id = c.block_id LEFT JOIN mention m ON m.claim_id = c.id"
        " LEFT JOIN concept k ON k.key = m.concept_key WHERE b.note_id = ANY(%s::uuid[]) GROUP BY c.id",
        [notes],
    ).fetchall()
    return blocks, claims


def warm(driver: Driver) -> None:
    """Lets Neo4j plan the statements of a projection before the first note needs them: on a fresh server that takes
    longer than carrying them out. Planned statements cost next to nothing, so this is done with every `recognise`."""
    with driver.session() as session:
        session.execute_write(write, [], [], [], [])


# Neo4j plans a statement anew when its counts have changed much, which on a fresh graph is at the very first notes and
# takes seconds on a busy machine. There is one good plan for each of these, from the index: it is named, and kept.
PLANNED_ONCE = "CYPHER replan=skip "
MENTIONED_UNTIL_NOW = """
MATCH (n:Note)-[:HAS]->(:Block)-[:STATES]->(:Claim)-[:MENTIONS]->(k:Concept) USING INDEX n:Note(id) WHERE n.id IN $notes
RETURN collect(DISTINCT k.key) AS keys
"""
DROP_CLAIMS = """
MATCH (n:Note)-[:HAS]->(:Block)-[:STATES]->(c:Claim) USING INDEX n:Note(id)
WHERE n.id IN $notes AND NOT c.id IN $stay DETACH DELETE c
"""
DROP_BLOCKS = """
MATCH (n:Note)-[:HAS]->(b:Block) USING INDEX n:Note(id) WHERE n.id IN $notes AND NOT b.id IN $stay DETACH DELETE b
"""
DROP_NOTES = "MATCH (n:Note) USING INDEX n:Note(id) WHERE n.id IN $gone DETACH DELETE n"
WRITE_NOTES = "UNWIND $notes AS row MERGE (n:Note {id: row.id}) SET n.path = row.path, n.title = row.title"
WRITE_BLOCKS = """
UNWIND $blocks AS row MATCH (n:Note {id: row.note}) MERGE (b:Block {id: row.id})
SET b.position = row.position, b.kind = row.kind, b.section = row.section MERGE (n)-[:HAS]->(b)
"""
WRITE_CLAIMS = """
UNWIND $claims AS row MATCH (b:Block {id: row.block}) MERGE (c:Claim {id: row.id}) SET c.text = row.text
MERGE (b)-[:STATES]->(c) WITH c, row UNWIND range(0, size(row.keys) - 1) AS i
MERGE (k:Concept {key: row.keys[i]}) SET k.label = row.labels[i] MERGE (c)-[:MENTIONS]->(k)
"""
DROP_MENTIONS = """
UNWIND $claims AS row MATCH (c:Claim {id: row.id})-[m:MENTIONS]->(k:Concept) USING INDEX c:Claim(id)
WHERE NOT k.key IN row.keys DELETE m
"""
DROP_ORPHANS = """
MATCH (k:Concept) USING INDEX k:Concept(key)
WHERE k.key IN $keys AND NOT EXISTS { (k)<-[:MENTIONS]-(:Claim) } DELETE k
"""


def write(
    transaction: ManagedTransaction,
    gone: list[str],
    notes: list[dict[str, Any]],
    blocks: list[dict[str, Any]],
    claims: list[dict[str, Any]],
) -> None:
    """The notes become what Postgres says, the gone ones nothing; concepts nobody mentions any more go with them."""
    touched = [*gone, *(note["id"] for note in notes)]
    before = transaction.run(PLANNED_ONCE + MENTIONED_UNTIL_NOW, notes=touched).single(strict=True)["keys"]
    transaction.run(PLANNED_ONCE + DROP_CLAIMS, notes=touched, stay=[claim["id"] for claim in claims])
    transaction.run(PLANNED_ONCE + DROP_BLOCKS, notes=touched, stay=[block["id"] for block in blocks])
    transaction.run(PLANNED_ONCE + DROP_NOTES, gone=gone)
    transaction.run(
        PLANNED_ONCE + WRITE_NOTES, notes=[{key: note[key] for key in ("id", "path", "title")} for note in notes]
    )
    transaction.run(PLANNED_ONCE + WRITE_BLOCKS, blocks=blocks)
    transaction.run(PLANNED_ONCE + WRITE_CLAIMS, claims=claims)
    transaction.run(PLANNED_ONCE + DROP_MENTIONS, claims=claims)
    transaction.run(PLANNED_ONCE + DROP_ORPHANS, keys=before)
