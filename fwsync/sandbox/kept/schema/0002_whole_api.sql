-- Analyses and collections, keys and devices, packfiles, hashes that a server does not know.

-- The way down gets its last step, so that an analysis can hang on an acquisition.
ALTER TABLE containers ADD COLUMN acquisition_id TEXT;
UPDATE containers SET acquisition_id = id WHERE kind = 'acquisition';
ALTER TABLE files ADD COLUMN acquisition_id TEXT;
UPDATE files SET acquisition_id = container_id WHERE container_kind = 'acquisition';

ALTER TABLE containers ADD COLUMN delete_reason TEXT;
ALTER TABLE files ADD COLUMN delete_reason TEXT;

-- 0: the API shows an empty hash, as servers do that never saw the bytes.
ALTER TABLE files ADD COLUMN hash_known INTEGER NOT NULL DEFAULT 1;
ALTER TABLE versions ADD COLUMN hash_known INTEGER NOT NULL DEFAULT 1;

ALTER TABLE versions ADD COLUMN deleted TEXT;           -- null: alive
ALTER TABLE versions ADD COLUMN restored_from INTEGER;  -- a version, where this one repeats it
ALTER TABLE versions ADD COLUMN restored_by TEXT;       -- JSON {type, id}
ALTER TABLE versions ADD COLUMN delete_reason TEXT;
ALTER TABLE versions ADD COLUMN modified TEXT;          -- null: its metadata were never changed
ALTER TABLE files ADD COLUMN restored_from INTEGER;     -- these two as of the newest version
ALTER TABLE files ADD COLUMN restored_by TEXT;

-- A page costs the same wherever it lies, whatever the list is of.
CREATE INDEX files_living ON files (id) WHERE deleted IS NULL;
CREATE INDEX files_by_group ON files (group_id, id) WHERE deleted IS NULL;
CREATE INDEX files_by_subject ON files (subject_id, id) WHERE deleted IS NULL;
CREATE INDEX files_by_session ON files (session_id, id) WHERE deleted IS NULL;
CREATE INDEX files_by_acquisition ON files (acquisition_id, id) WHERE deleted IS NULL;

CREATE INDEX analyses_by_parent ON containers (parent_id, id) WHERE kind = 'analysis'; -- all

-- What an analysis was made from, in the order it was told.
CREATE TABLE analysis_inputs (
    analysis_id TEXT NOT NULL,
    position    INTEGER NOT NULL,
    file_id     TEXT NOT NULL,
    version     INTEGER NOT NULL,
    PRIMARY KEY (analysis_id, position)
) STRICT, WITHOUT ROWID;

-- The acquisitions that somebody put together. A collection is a container without a parent; its
-- group_id is its own id, so that grants on it hold for its files and analyses.
CREATE TABLE collection_members (
    collection_id  TEXT NOT NULL,
    acquisition_id TEXT NOT NULL,
    PRIMARY KEY (collection_id, acquisition_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX collections_by_member ON collection_members (acquisition_id);

-- A user, and a device, may have several keys.
CREATE TABLE keys (
    id         TEXT PRIMARY KEY,
    key        TEXT NOT NULL UNIQUE,
    owner_kind TEXT NOT NULL CHECK (owner_kind IN ('user', 'device')),
    owner_id   TEXT NOT NULL,
    label      TEXT NOT NULL,
    created    TEXT NOT NULL,
    expires    TEXT                     -- null: never
) STRICT;

CREATE INDEX keys_by_owner ON keys (owner_kind, owner_id);

INSERT INTO keys SELECT id, key, 'user', id, '', created, NULL FROM users;

CREATE TABLE people (
    id        TEXT PRIMARY KEY,         -- an e-mail address, as on Flywheel
    firstname TEXT NOT NULL,
    lastname  TEXT NOT NULL,
    root      INTEGER NOT NULL,         -- 1: a site admin, who sees everything
    disabled  INTEGER NOT NULL,         -- 1: their keys open nothing
    created   TEXT NOT NULL,
    modified  TEXT NOT NULL,
    deleted   TEXT,                     -- null: alive
    doc       TEXT NOT NULL             -- JSON: info, preferences, avatar, …
) STRICT;
INSERT INTO people SELECT id, firstname, lastname, root, 0, created, created, NULL, '{}' FROM users;
DROP TABLE users;
ALTER TABLE people RENAME TO users;

CREATE TABLE devices (
    id        TEXT PRIMARY KEY,         -- 24 hex digits
    name      TEXT NOT NULL,            -- core18's id: <method>_<name>; its label for the others
    label     TEXT NOT NULL,
    method    TEXT,
    type      TEXT,                     -- null: not told yet; can be told once
    version   TEXT,
    interval  REAL,                     -- seconds between two signs of life; null: not told
    last_seen TEXT,
    errors    TEXT NOT NULL,            -- JSON list of texts
    info      TEXT NOT NULL,            -- JSON object
    disabled  INTEGER NOT NULL,
    created   TEXT NOT NULL,
    modified  TEXT NOT NULL,
    deleted   TEXT,
    doc       TEXT NOT NULL             -- JSON: storage_config, …
) STRICT;

CREATE UNIQUE INDEX devices_by_name ON devices (name) WHERE deleted IS NULL;

-- Packfiles on their way: a token, and the files that were added under it.
CREATE TABLE packfiles (
    token      TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    owner_kind TEXT NOT NULL,
    owner_id   TEXT NOT NULL,
    touched    TEXT NOT NULL
) STRICT;

CREATE TABLE packfile_files (
    token  TEXT NOT NULL,
    name   TEXT NOT NULL,
    sha384 TEXT NOT NULL,
    size   INTEGER NOT NULL,            -- bytes
    PRIMARY KEY (token, name)
) STRICT, WITHOUT ROWID;

-- The uid of a session or acquisition, to be found by: it stays in doc, this is only a view of it.
ALTER TABLE containers ADD COLUMN uid TEXT GENERATED ALWAYS AS (
    CASE WHEN json_valid(doc) AND json_type(doc, '$.uid') = 'text'
    THEN json_extract(doc, '$.uid') END
) VIRTUAL;
CREATE INDEX containers_by_uid ON containers (uid, kind, id)
    WHERE uid IS NOT NULL AND deleted IS NULL;
