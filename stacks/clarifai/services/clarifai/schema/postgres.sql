-- What ClarifAI knows, and the truth of it: Neo4j holds a projection of these tables and can be made again from them.
-- Every statement may run any number of times.

CREATE EXTENSION IF NOT EXISTS vector;

-- One row that names this database. The graph carries the same name; a graph that does not is made again.
CREATE TABLE IF NOT EXISTS identity (
    one  boolean PRIMARY KEY DEFAULT true CHECK (one),
    id   uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO identity DEFAULT VALUES ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS note (
    id             uuid PRIMARY KEY,
    path           text NOT NULL UNIQUE,
    title          text NOT NULL,
    sha256         text NOT NULL,
    generated      boolean NOT NULL DEFAULT false,
    version        bigint NOT NULL DEFAULT 1,
    -- The version the graph shows. Lower than `version`: the projection is due.
    graph_version  bigint NOT NULL DEFAULT 0,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS note_waiting_for_graph ON note (id) WHERE graph_version < version;

-- A deleted note's id stays here until the graph has forgotten it too.
CREATE TABLE IF NOT EXISTS note_gone (
    id       uuid PRIMARY KEY,
    gone_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS block (
    id             uuid PRIMARY KEY,
    note_id        uuid NOT NULL REFERENCES note ON DELETE CASCADE,
    position       integer NOT NULL,
    kind           text NOT NULL,
    section        text NOT NULL,
    text           text NOT NULL,
    revision       integer NOT NULL DEFAULT 1,
    -- Which model made `embedding`; another than the one in use means stale, null means not embedded yet.
    embedded_with  text,
    embedded_at    timestamptz,
    words          tsvector GENERATED ALWAYS AS (to_tsvector('simple', text)) STORED
);
CREATE INDEX IF NOT EXISTS block_note ON block (note_id);
CREATE INDEX IF NOT EXISTS block_words ON block USING gin (words);

CREATE TABLE IF NOT EXISTS concept (
    key            text PRIMARY KEY,
    label          text NOT NULL,
    embedded_with  text
);

-- What the merging job found to be another spelling: from then on `alias` is read as `key`.
CREATE TABLE IF NOT EXISTS concept_alias (
    alias      text PRIMARY KEY,
    label      text NOT NULL,
    key        text NOT NULL REFERENCES concept ON DELETE CASCADE,
    merged_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS claim (
    id        uuid PRIMARY KEY,
    block_id  uuid NOT NULL REFERENCES block ON DELETE CASCADE,
    position  integer NOT NULL,
    text      text NOT NULL
);
CREATE INDEX IF NOT EXISTS claim_block ON claim (block_id);

CREATE TABLE IF NOT EXISTS mention (
    claim_id     uuid NOT NULL REFERENCES claim ON DELETE CASCADE,
    concept_key  text NOT NULL REFERENCES concept ON UPDATE CASCADE,
    PRIMARY KEY (claim_id, concept_key)
);
CREATE INDEX IF NOT EXISTS mention_concept ON mention (concept_key);

-- Files that could not be read as notes, until they can.
CREATE TABLE IF NOT EXISTS problem (
    path    text PRIMARY KEY,
    reason  text NOT NULL,
    since   timestamptz NOT NULL DEFAULT now()
);

-- The scheduler's memory: a slot is the time a job was due, so two schedulers write the same row.
CREATE TABLE IF NOT EXISTS job (
    name        text PRIMARY KEY,
    first_seen  timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS job_run (
    job          text NOT NULL REFERENCES job ON DELETE CASCADE,
    slot         timestamptz NOT NULL,
    cause        text NOT NULL,
    instance     text NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    outcome      text,
    detail       jsonb,
    PRIMARY KEY (job, slot)
);
