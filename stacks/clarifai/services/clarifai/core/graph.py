"""The graph in Neo4j: a projection of Postgres, written note by note, and made again whenever it is not ours.

`project` is called after every change and once a second: what could not be written while Neo4j was away, or was cut
off by a crash between the two databases, is written then (Postgres remembers which version of a note the graph shows).
"""

import logging
from typing import Any
from uuid import UUID

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
    done = 0
    with pool.connection() as connection:
        if waiting(connection) == 0:
            return 0
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [PROJECTOR])
        for row in connection.execute("SELECT id FROM note_gone").fetchall():
            with driver.session() as session:
                session.execute_write(forget, str(row["id"]))
            connection.execute("DELETE FROM note_gone WHERE id = %s", [row["id"]])
            done += 1
        notes = connection.execute(
            "SELECT id, path, title, version FROM note WHERE graph_version < version ORDER BY updated_at LIMIT 500"
        ).fetchall()
        for note in notes:
            with driver.session() as session:
                session.execute_write(write, note, *picture(connection, note["id"]))
            connection.execute("UPDATE note SET graph_version = %s WHERE id = %s", [note["version"], note["id"]])
            done += 1
    return done


def waiting(connection: Connection[DictRow]) -> int:
    row = connection.execute(
        "SELECT (SELECT count(*) FROM note WHERE graph_version < version) + (SELECT count(*) FROM note_gone) AS n"
    ).fetchone()
    return int(row["n"]) if row else 0


def picture(connection: Connection[DictRow], note_id: UUID) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Blocks and claims of a note as Postgres has them, with text ids, as Cypher takes them."""
    blocks = connection.execute(
        "SELECT id::text, position, kind, section FROM block WHERE note_id = %s", [note_id]
    ).fetchall()
    claims = connection.execute(
        "SELECT c.id::text, c.block_id::text AS block, c.text,"
        " coalesce(array_agg(k.key) FILTER (WHERE k.key IS NOT NULL), '{}') AS keys,"
        " coalesce(array_agg(k.label) FILTER (WHERE k.key IS NOT NULL), '{}') AS labels"
        " FROM claim c JOIN block b ON b.id = c.block_id LEFT JOIN mention m ON m.claim_id = c.id"
        " LEFT JOIN concept k ON k.key = m.concept_key WHERE b.note_id = %s GROUP BY c.id",
        [note_id],
    ).fetchall()
    return blocks, claims


def write(
    transaction: ManagedTransaction, note: dict[str, Any], blocks: list[dict[str, Any]], claims: list[dict[str, Any]]
) -> None:
    note_id = str(note["id"])
    before = drop_claims(transaction, note_id, [claim["id"] for claim in claims])
    transaction.run(
        "MATCH (:Note {id: $id})-[:HAS]->(b:Block) WHERE NOT b.id IN $stay DETACH DELETE b",
        id=note_id,
        stay=[block["id"] for block in blocks],
    )
    transaction.run(
        "MERGE (n:Note {id: $id}) SET n.path = $path, n.title = $title WITH n UNWIND $blocks AS row"
        " MERGE (b:Block {id: row.id}) SET b.position = row.position, b.kind = row.kind, b.section = row.section"
        " MERGE (n)-[:HAS]->(b)",
        id=note_id,
        path=note["path"],
        title=note["title"],
        blocks=blocks,
    )
    transaction.run(
        "UNWIND $claims AS row MATCH (b:Block {id: row.block}) MERGE (c:Claim {id: row.id}) SET c.text = row.text"
        " MERGE (b)-[:STATES]->(c) WITH c, row"
        " UNWIND range(0, size(row.keys) - 1) AS i"
        " MERGE (k:Concept {key: row.keys[i]}) SET k.label = row.labels[i] MERGE (c)-[:MENTIONS]->(k)",
        claims=claims,
    )
    transaction.run(
        "UNWIND $claims AS row MATCH (:Claim {id: row.id})-[m:MENTIONS]->(k:Concept)"
        " WHERE NOT k.key IN row.keys DELETE m",
        claims=claims,
    )
    drop_orphans(transaction, before)


def forget(transaction: ManagedTransaction, note_id: str) -> None:
    before = drop_claims(transaction, note_id, [])
    transaction.run("MATCH (n:Note {id: $id}) OPTIONAL MATCH (n)-[:HAS]->(b:Block) DETACH DELETE b, n", id=note_id)
    drop_orphans(transaction, before)


def drop_claims(transaction: ManagedTransaction, note_id: str, stay: list[str]) -> list[str]:
    """Removes the claims the note no longer states; gives the concepts it mentioned until now."""
    found = transaction.run(
        "MATCH (:Note {id: $id})-[:HAS]->(:Block)-[:STATES]->(:Claim)-[:MENTIONS]->(k:Concept)"
        " RETURN collect(DISTINCT k.key) AS keys",
        id=note_id,
    ).single(strict=True)
    transaction.run(
        "MATCH (:Note {id: $id})-[:HAS]->(:Block)-[:STATES]->(c:Claim) WHERE NOT c.id IN $stay DETACH DELETE c",
        id=note_id,
        stay=stay,
    )
    return list(found["keys"])


def drop_orphans(transaction: ManagedTransaction, keys: list[str]) -> None:
    transaction.run(
        "MATCH (k:Concept) WHERE k.key IN $keys AND NOT EXISTS { (k)<-[:MENTIONS]-(:Claim) } DELETE k", keys=keys
    )
