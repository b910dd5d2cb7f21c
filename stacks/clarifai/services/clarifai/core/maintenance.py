"""What the scheduler asks for: stale vectors, near-duplicate concepts, the digest of a day. Each may be repeated."""

import logging
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import DictRow

from clarifai.core.embedder import Embedder, as_vector
from clarifai.core.notes import Pool, lock_writers
from clarifai.notes.similar import same_name

log = logging.getLogger("clarifai.maintenance")
BATCH = 100


def re_embed(pool: Pool, embedder: Embedder) -> int:
    """Embeds every block whose vector is missing or was made by another model."""
    done = 0
    while True:
        with pool.connection() as connection:
            rows = connection.execute(
                "SELECT id, text FROM block WHERE embedded_with IS DISTINCT FROM %s LIMIT %s", [embedder.name, BATCH]
            ).fetchall()
        if not rows:
            return done
        vectors = embedder.embed([row["text"] for row in rows])
        with pool.connection() as connection, connection.cursor() as cursor:
            cursor.executemany(
                "UPDATE block SET embedding = %s::vector, embedded_with = %s, embedded_at = now()"
                " WHERE id = %s AND text = %s",  # a block edited meanwhile has its own vector already
                [
                    (as_vector(vector), embedder.name, row["id"], row["text"])
                    for row, vector in zip(rows, vectors, strict=True)
                ],
            )
        done += len(rows)


def merge_concepts(pool: Pool, embedder: Embedder) -> list[dict[str, str]]:
    """Concepts whose names are spellings of one another become one; the other spelling is kept as an alias."""
    embed_concepts(pool, embedder)
    merged = []
    with pool.connection() as connection:
        lock_writers(connection)
        pairs = connection.execute(
            "SELECT a.key AS one, b.key AS other FROM concept a"
            " CROSS JOIN LATERAL (SELECT key FROM concept b WHERE b.key <> a.key AND b.embedding IS NOT NULL"
            "   ORDER BY b.embedding <=> a.embedding LIMIT 8) b"
            " WHERE a.embedding IS NOT NULL ORDER BY a.key, b.key"
        ).fetchall()
        gone: set[str] = set()
        for pair in pairs:
            if pair["one"] in gone or pair["other"] in gone or not same_name(pair["one"], pair["other"]):
                continue
            keep, drop = by_use(connection, pair["one"], pair["other"])
            merge(connection, keep, drop)
            gone.add(drop)
            merged.append({"kept": keep, "merged": drop})
    return merged


def embed_concepts(pool: Pool, embedder: Embedder) -> None:
    with pool.connection() as connection:
        rows = connection.execute(
            "SELECT key FROM concept WHERE embedded_with IS DISTINCT FROM %s", [embedder.name]
        ).fetchall()
    keys = [row["key"] for row in rows]
    vectors = embedder.embed(keys) if keys else []
    with pool.connection() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE concept SET embedding = %s::vector, embedded_with = %s WHERE key = %s",
            [(as_vector(vector), embedder.name, key) for key, vector in zip(keys, vectors, strict=True)],
        )


def by_use(connection: Connection[DictRow], one: str, other: str) -> tuple[str, str]:
    """(the one to keep, the one to merge): the more mentioned, then the shorter, then the first by name."""
    rows = connection.execute(
        "SELECT concept_key, count(*) AS n FROM mention WHERE concept_key = ANY(%s) GROUP BY 1", [[one, other]]
    )
    uses = {row["concept_key"]: row["n"] for row in rows}
    keep, drop = sorted((one, other), key=lambda key: (-uses.get(key, 0), len(key), key))
    return keep, drop


def merge(connection: Connection[DictRow], keep: str, drop: str) -> None:
    connection.execute(
        "UPDATE note SET version = version + 1 WHERE id IN (SELECT b.note_id FROM mention m"
        " JOIN claim c ON c.id = m.claim_id JOIN block b ON b.id = c.block_id WHERE m.concept_key = %s)",
        [drop],
    )
    connection.execute(
        "INSERT INTO mention SELECT claim_id, %s FROM mention WHERE concept_key = %s ON CONFLICT DO NOTHING",
        [keep, drop],
    )
    connection.execute("DELETE FROM mention WHERE concept_key = %s", [drop])
    connection.execute("UPDATE concept_alias SET key = %s WHERE key = %s", [keep, drop])
    connection.execute(
        "INSERT INTO concept_alias (alias, label, key) SELECT key, label, %s FROM concept WHERE key = %s"
        " ON CONFLICT (alias) DO UPDATE SET key = excluded.key",
        [keep, drop],
    )
    connection.execute("DELETE FROM concept WHERE key = %s", [drop])
    log.info("concepts merged", extra={"kept": keep, "merged": drop})


def digest(pool: Pool, since: datetime, until: datetime) -> dict[str, Any]:
    """What was written between two moments: notes, their claims, the concepts they mention most, files in trouble."""
    with pool.connection() as connection:
        notes = connection.execute(
            "SELECT n.path, n.title, n.created_at >= %(since)s AS new, count(DISTINCT b.id) AS blocks,"
            " count(DISTINCT c.id) AS claims FROM note n LEFT JOIN block b ON b.note_id = n.id"
            " LEFT JOIN claim c ON c.block_id = b.id"
            " WHERE n.updated_at >= %(since)s AND n.updated_at < %(until)s AND NOT n.generated"
            " GROUP BY n.id ORDER BY n.path",
            {"since": since, "until": until},
        ).fetchall()
        concepts = connection.execute(
            "SELECT k.label AS name, count(DISTINCT c.id) AS claims FROM note n JOIN block b ON b.note_id = n.id"
            " JOIN claim c ON c.block_id = b.id JOIN mention m ON m.claim_id = c.id"
            " JOIN concept k ON k.key = m.concept_key"
            " WHERE n.updated_at >= %s AND n.updated_at < %s AND NOT n.generated"
            " GROUP BY k.key ORDER BY claims DESC, name LIMIT 15",
            [since, until],
        ).fetchall()
        troubled = connection.execute("SELECT path, reason FROM problem ORDER BY path").fetchall()
    return {"since": since, "until": until, "notes": notes, "concepts": concepts, "problems": troubled}
