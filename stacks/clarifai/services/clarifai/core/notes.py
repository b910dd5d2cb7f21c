"""Notes in Postgres: stored, moved, deleted. Each is one transaction, and each may be repeated.

All writers take the same advisory lock: two notes that mention the same concepts never wait for each other in a ring.
"""

import hashlib
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid4, uuid5

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg_pool import ConnectionPool

from clarifai.core.embedder import Embedder, EmbeddingUnavailable, as_vector
from clarifai.notes.extract import claims_of, concept_key
from clarifai.notes.identity import match_blocks
from clarifai.notes.markdown import Block, Note, NoteError, read_note

log = logging.getLogger("clarifai.notes")
Pool = ConnectionPool[Connection[DictRow]]

WRITERS = 20260002


class Stored(NamedTuple):
    note_id: UUID
    changed: bool
    blocks: int
    kept: int
    embedded: int
    removed: int


def lock_writers(connection: Connection[DictRow]) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [WRITERS])


def store_note(pool: Pool, embedder: Embedder, path: str, raw: bytes) -> Stored:
    """What the vault holds at `path` is now `raw`. A file that is no note is recorded as a problem; what was known
    of it stays as it was until the file is whole again."""
    try:
        note = read_note(raw, path)
    except NoteError as error:
        report_problem(pool, path, str(error))
        raise
    sha256 = hashlib.sha256(raw).hexdigest()
    vectors = embed_what_is_new(pool, embedder, path, sha256, note)
    with pool.connection() as connection:
        lock_writers(connection)
        connection.execute("DELETE FROM problem WHERE path = %s", [path])
        return write_note(connection, embedder.name, path, sha256, note, vectors)


def embed_what_is_new(pool: Pool, embedder: Embedder, path: str, sha256: str, note: Note) -> dict[str, str]:
    """Vectors by text, made before the transaction: a slow model must not hold the writers' lock."""
    with pool.connection() as connection:
        rows = connection.execute(
            "SELECT b.text, n.sha256 FROM note n LEFT JOIN block b ON b.note_id = n.id WHERE n.path = %s", [path]
        ).fetchall()
    if rows and rows[0]["sha256"] == sha256:
        return {}
    known = {row["text"] for row in rows}
    texts = list(dict.fromkeys(block.text for block in note.blocks if block.text not in known))
    try:
        return dict(zip(texts, map(as_vector, embedder.embed(texts)), strict=True))
    except EmbeddingUnavailable as error:
        log.warning("embedding postponed", extra={"path": path, "reason": str(error)})
        return {}


def write_note(
    connection: Connection[DictRow], model: str, path: str, sha256: str, note: Note, vectors: dict[str, str]
) -> Stored:
    row = connection.execute("SELECT id, sha256, generated FROM note WHERE path = %s", [path]).fetchone()
    note_id = row["id"] if row else uuid4()
    if row and row["sha256"] == sha256:
        return Stored(note_id, False, len(note.blocks), len(note.blocks), 0, 0)
    connection.execute(
        "INSERT INTO note (id, path, title, sha256, generated) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT (path) DO UPDATE SET title = excluded.title, sha256 = excluded.sha256,"
        " generated = excluded.generated, version = note.version + 1, updated_at = now()",
        [note_id, path, note.title, sha256, note.generated],
    )
    old = connection.execute(
        "SELECT id, kind, text FROM block WHERE note_id = %s ORDER BY position", [note_id]
    ).fetchall()
    before = concepts_of_note(connection, note_id)
    continued = match_blocks([block["text"] for block in old], [block.text for block in note.blocks])
    gone = [old[index]["id"] for index in set(range(len(old))) - set(continued)]
    connection.execute("DELETE FROM block WHERE id = ANY(%s)", [gone])
    turned = row is not None and row["generated"] != note.generated
    kept = embedded = 0
    for position, (block, index) in enumerate(zip(note.blocks, continued, strict=True)):
        was = old[index] if index is not None else None
        block_id = was["id"] if was else uuid4()
        if was and was["text"] == block.text:
            kept += 1
            connection.execute(
                "UPDATE block SET position = %s, kind = %s, section = %s WHERE id = %s",
                [position, block.kind, block.section, block_id],
            )
        else:
            vector = vectors.get(block.text)
            embedded += vector is not None
            write_block(connection, note_id, block_id, position, block, vector, model)
        if was is None or was["text"] != block.text or was["kind"] != block.kind or turned:
            write_claims(connection, block_id, block, states=not note.generated)
    forget_orphans(connection, before)
    return Stored(note_id, True, len(note.blocks), kept, embedded, len(gone))


def write_block(
    connection: Connection[DictRow],
    note_id: UUID,
    block_id: UUID,
    position: int,
    block: Block,
    vector: str | None,
    model: str,
) -> None:
    connection.execute(
        "INSERT INTO block (id, note_id, position, kind, section, text, embedding, embedded_with, embedded_at)"
        " VALUES (%(id)s, %(note)s, %(position)s, %(kind)s, %(section)s, %(text)s, %(vector)s::vector, %(model)s,"
        "   CASE WHEN %(vector)s::text IS NULL THEN NULL ELSE now() END)"
        " ON CONFLICT (id) DO UPDATE SET position = excluded.position, kind = excluded.kind,"
        " section = excluded.section, text = excluded.text, revision = block.revision + 1,"
        " embedding = excluded.embedding, embedded_with = excluded.embedded_with, embedded_at = excluded.embedded_at",
        {
            "id": block_id,
            "note": note_id,
            "position": position,
            "kind": block.kind,
            "section": block.section,
            "text": block.text,
            "vector": vector,
            "model": model if vector else None,
        },
    )


def write_claims(connection: Connection[DictRow], block_id: UUID, block: Block, *, states: bool) -> None:
    connection.execute("DELETE FROM claim WHERE block_id = %s", [block_id])
    seen = set()
    for position, claim in enumerate(claims_of(block) if states else []):
        claim_id = uuid5(block_id, claim.text)
        if claim_id in seen:
            continue
        seen.add(claim_id)
        connection.execute("INSERT INTO claim VALUES (%s, %s, %s, %s)", [claim_id, block_id, position, claim.text])
        for label in claim.concepts:
            key = concept_key(label)
            alias = connection.execute("SELECT key FROM concept_alias WHERE alias = %s", [key]).fetchone()
            key = alias["key"] if alias else key
            connection.execute("INSERT INTO concept (key, label) VALUES (%s, %s) ON CONFLICT DO NOTHING", [key, label])
            connection.execute("INSERT INTO mention VALUES (%s, %s) ON CONFLICT DO NOTHING", [claim_id, key])


def concepts_of_note(connection: Connection[DictRow], note_id: UUID) -> list[str]:
    rows = connection.execute(
        "SELECT DISTINCT m.concept_key FROM mention m JOIN claim c ON c.id = m.claim_id"
        " JOIN block b ON b.id = c.block_id WHERE b.note_id = %s",
        [note_id],
    )
    return [row["concept_key"] for row in rows]


def forget_orphans(connection: Connection[DictRow], keys: Sequence[str]) -> None:
    connection.execute(
        "DELETE FROM concept c WHERE c.key = ANY(%s)"
        " AND NOT EXISTS (SELECT 1 FROM mention m WHERE m.concept_key = c.key)",
        [list(keys)],
    )


def delete_note(pool: Pool, path: str) -> bool:
    with pool.connection() as connection:
        lock_writers(connection)
        connection.execute("DELETE FROM problem WHERE path = %s", [path])
        return remove(connection, path)


def remove(connection: Connection[DictRow], path: str) -> bool:
    row = connection.execute("SELECT id FROM note WHERE path = %s", [path]).fetchone()
    if row is None:
        return False
    before = concepts_of_note(connection, row["id"])
    connection.execute("INSERT INTO note_gone (id) VALUES (%s) ON CONFLICT DO NOTHING", [row["id"]])
    connection.execute("DELETE FROM note WHERE id = %s", [row["id"]])
    forget_orphans(connection, before)
    return True


def move_note(pool: Pool, old: str, new: str) -> bool:
    """The note keeps its identity under its new path. Renamed onto a note that exists (how many editors save), the
    note at that path goes on, and the caller stores its new text next."""
    with pool.connection() as connection:
        lock_writers(connection)
        connection.execute("DELETE FROM problem WHERE path = %s", [old])
        if connection.execute("SELECT 1 FROM note WHERE path = %s", [new]).fetchone():
            remove(connection, old)
            return False
        moved = connection.execute(
            "UPDATE note SET path = %s, version = version + 1, updated_at = now() WHERE path = %s", [new, old]
        )
        return moved.rowcount == 1


def known_notes(pool: Pool) -> dict[str, str]:
    """Path -> sha256 of everything stored: what the watcher compares the vault with."""
    with pool.connection() as connection:
        return {row["path"]: row["sha256"] for row in connection.execute("SELECT path, sha256 FROM note")}


def problems(pool: Pool) -> list[dict[str, Any]]:
    with pool.connection() as connection:
        return connection.execute("SELECT path, reason, since FROM problem ORDER BY path").fetchall()


def report_problem(pool: Pool, path: str, reason: str) -> None:
    with pool.connection() as connection:
        connection.execute(
            "INSERT INTO problem (path, reason) VALUES (%s, %s)"
            " ON CONFLICT (path) DO UPDATE SET reason = excluded.reason",
            [path, reason],
        )


def show_note(pool: Pool, path: str) -> dict[str, Any] | None:
    with pool.connection() as connection:
        note = connection.execute(
            "SELECT id, path, title, generated, version, graph_version, updated_at FROM note WHERE path = %s", [path]
        ).fetchone()
        if note is None:
            return None
        blocks = connection.execute(
            "SELECT b.id, b.kind, b.section, b.text, b.revision, b.embedded_with, b.embedded_at,"
            " coalesce(array_agg(c.text ORDER BY c.position) FILTER (WHERE c.id IS NOT NULL), '{}') AS claims"
            " FROM block b LEFT JOIN claim c ON c.block_id = b.id WHERE b.note_id = %s"
            " GROUP BY b.id ORDER BY b.position",
            [note["id"]],
        ).fetchall()
    return {**note, "blocks": blocks}
