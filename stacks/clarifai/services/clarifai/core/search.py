"""Search joins both databases: near vectors and words from Postgres, blocks that speak of the same concepts from Neo4j.

A block's score is 0.6 x cosine of the vectors + 0.25 if it holds the words asked for + 0.15 x the share of the
concepts named in the question that the block's claims mention. While Neo4j is away the rest still answers, and says so.
"""

import logging
from typing import Any

from neo4j import Driver

from clarifai.core.embedder import Embedder, EmbeddingUnavailable, as_vector
from clarifai.core.graph import GRAPH_ERRORS, PLANNED_ONCE, ask
from clarifai.core.notes import Pool
from clarifai.notes.extract import WORD, concept_key

log = logging.getLogger("clarifai.search")
CANDIDATES = 40
LOWEST_SCORE = 0.06

NEAREST = """
WITH near AS (
  SELECT id FROM block WHERE embedding IS NOT NULL AND %(vector)s::text IS NOT NULL
  ORDER BY embedding <=> %(vector)s::vector LIMIT %(candidates)s
), worded AS (
  SELECT id FROM block WHERE words @@ websearch_to_tsquery('simple', %(q)s)
  ORDER BY ts_rank(words, websearch_to_tsquery('simple', %(q)s)) DESC LIMIT %(candidates)s
)
SELECT b.id::text AS block, b.text, b.kind, b.section, n.path, n.title,
       coalesce(1 - (b.embedding <=> %(vector)s::vector), 0) AS cosine,
       (b.words @@ websearch_to_tsquery('simple', %(q)s))::int AS words,
       ARRAY(SELECT DISTINCT k.label FROM claim c JOIN mention m ON m.claim_id = c.id
             JOIN concept k ON k.key = m.concept_key WHERE c.block_id = b.id ORDER BY k.label) AS concepts
FROM block b JOIN note n ON n.id = b.note_id
WHERE b.id IN (SELECT id FROM near UNION SELECT id FROM worded) OR b.id = ANY(%(mentioned)s::uuid[])
"""

MENTIONED = """
MATCH (b:Block)-[:STATES]->(:Claim)-[:MENTIONS]->(k:Concept) USING INDEX k:Concept(key) WHERE k.key IN $keys
RETURN b.id AS block, count(DISTINCT k) AS concepts ORDER BY concepts DESC LIMIT $limit
"""


def search(pool: Pool, driver: Driver, embedder: Embedder, q: str, limit: int) -> dict[str, Any]:
    degraded = []
    try:
        vector = as_vector(embedder.embed([q])[0])
    except EmbeddingUnavailable as error:
        degraded.append(f"embedding: {error}")
        vector = None
    shares: dict[str, int] = {}
    try:
        shares = {
            row["block"]: row["concepts"]
            for row in ask(driver, PLANNED_ONCE + MENTIONED, keys=phrases(q), limit=CANDIDATES)
        }
    except GRAPH_ERRORS as error:
        log.warning("searching without the graph", extra={"reason": str(error)})
        degraded.append("neo4j: away")
    rows = candidates(pool, q, vector, list(shares))
    most = max(shares.values(), default=1)
    hits = []
    for row in rows:
        score = 0.6 * max(row["cosine"], 0.0) + 0.25 * row["words"] + 0.15 * shares.get(row["block"], 0) / most
        if score >= LOWEST_SCORE:
            hits.append(
                {
                    "score": round(score, 4),
                    "block": {key: row[key] for key in ("kind", "section", "text")} | {"id": row["block"]},
                    "note": {"path": row["path"], "title": row["title"]},
                    "concepts": row["concepts"],
                }
            )
    hits.sort(key=lambda hit: -hit["score"])
    return {"q": q, "hits": hits[:limit], "degraded": degraded}


def candidates(pool: Pool, q: str, vector: str | None, mentioned: list[str]) -> list[dict[str, Any]]:
    with pool.connection() as connection:
        return connection.execute(
            NEAREST, {"q": q, "vector": vector, "mentioned": mentioned, "candidates": CANDIDATES}
        ).fetchall()


def phrases(q: str) -> list[str]:
    """Every run of one to four words of the question, as a concept would be called."""
    words = WORD.findall(q)
    return sorted({concept_key(" ".join(words[i:j])) for i in range(len(words)) for j in range(i + 1, i + 5)})


CLAIMS = """
MATCH (k:Concept {key: $key})<-[:MENTIONS]-(c:Claim)<-[:STATES]-(b:Block)<-[:HAS]-(n:Note) USING INDEX k:Concept(key)
RETURN k.label AS label, c.text AS claim, b.id AS block, n.path AS path, n.title AS title ORDER BY path, b.position
"""

RELATED = """
MATCH (k:Concept {key: $key})<-[:MENTIONS]-(c:Claim)-[:MENTIONS]->(other:Concept) USING INDEX k:Concept(key)
RETURN other.label AS name, count(DISTINCT c) AS claims ORDER BY claims DESC, name LIMIT 20
"""


def show_concept(pool: Pool, driver: Driver, name: str) -> dict[str, Any] | None:
    """What is linked to a concept, under any spelling that was merged into it."""
    key = concept_key(name)
    with pool.connection() as connection:
        alias = connection.execute("SELECT key FROM concept_alias WHERE alias = %s", [key]).fetchone()
        key = alias["key"] if alias else key
        aliases = connection.execute("SELECT label FROM concept_alias WHERE key = %s ORDER BY label", [key]).fetchall()
    rows = ask(driver, PLANNED_ONCE + CLAIMS, key=key)
    if not rows:
        return None
    return {
        "name": rows[0]["label"],
        "key": key,
        "aliases": [row["label"] for row in aliases],
        "claims": [{"text": row["claim"], "block": row["block"], "note": row["path"]} for row in rows],
        "notes": [
            {"path": path, "title": title} for path, title in {row["path"]: row["title"] for row in rows}.items()
        ],
        "related": ask(driver, PLANNED_ONCE + RELATED, key=key),
    }


def warm(driver: Driver) -> None:
    """Lets Neo4j plan the statements of a search before the first one (see `graph.warm`)."""
    ask(driver, PLANNED_ONCE + MENTIONED, keys=[], limit=0)
    ask(driver, PLANNED_ONCE + CLAIMS, key="")
    ask(driver, PLANNED_ONCE + RELATED, key="")
