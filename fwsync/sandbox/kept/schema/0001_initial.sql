-- The records of a sandbox. Nothing is ever removed: what is deleted carries the time.
-- Times are ISO 8601, UTC, microseconds, all of one width, so that text compares as time does.

-- What is drawn once and stays: device_secret, machine, site_id.
CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE users (
    id        TEXT PRIMARY KEY,         -- an e-mail address, as on Flywheel
    key       TEXT NOT NULL UNIQUE,
    firstname TEXT NOT NULL,
    lastname  TEXT NOT NULL,
    root      INTEGER NOT NULL,         -- 1: a site admin, who sees everything
    created   TEXT NOT NULL
) STRICT;

-- Groups, projects, subjects, sessions, acquisitions. The four *_id columns are the way down to
-- the row itself and include it: a project's row has project_id = id.
CREATE TABLE containers (
    id         TEXT PRIMARY KEY,        -- 24 hex digits, growing; a group has its slug
    kind       TEXT NOT NULL,
    label      TEXT NOT NULL,           -- any text, also empty
    parent_id  TEXT,                    -- null: a group
    group_id   TEXT NOT NULL,
    project_id TEXT,                    -- null: above it
    subject_id TEXT,
    session_id TEXT,
    created    TEXT NOT NULL,
    modified   TEXT NOT NULL,
    deleted    TEXT,                    -- null: alive
    revision   INTEGER NOT NULL,
    doc        TEXT NOT NULL            -- JSON: info, tags and the kind's own fields
) STRICT;

CREATE INDEX containers_by_parent ON containers (parent_id, id); -- deleted ones too: tickets
CREATE INDEX containers_by_project ON containers (project_id, kind, id) WHERE deleted IS NULL;
CREATE INDEX containers_by_kind ON containers (kind, id) WHERE deleted IS NULL;
CREATE INDEX containers_by_label ON containers (parent_id, label, id) WHERE deleted IS NULL;

CREATE TABLE permissions (
    container_id TEXT NOT NULL,         -- a group or a project
    user_id      TEXT NOT NULL,
    access       TEXT NOT NULL CHECK (access IN ('ro', 'rw', 'admin')),
    PRIMARY KEY (container_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX permissions_by_user ON permissions (user_id);

-- A file: a name in a container, while it lives. The content is in `versions`; the columns size,
-- sha384, origin and doc repeat the newest one, so that a list reads one table.
CREATE TABLE files (
    id             TEXT PRIMARY KEY,    -- file_id on the wire: stable over versions
    container_id   TEXT NOT NULL,
    container_kind TEXT NOT NULL,
    group_id       TEXT NOT NULL,
    project_id     TEXT,
    subject_id     TEXT,
    session_id     TEXT,
    name           TEXT NOT NULL,
    version        INTEGER NOT NULL,    -- the newest
    object_id      TEXT NOT NULL,
    type           TEXT,                -- null: not known
    mimetype       TEXT NOT NULL,
    size           INTEGER NOT NULL,    -- bytes
    sha384         TEXT NOT NULL,       -- hex
    origin         TEXT NOT NULL,       -- JSON {type, id}
    created        TEXT NOT NULL,
    modified       TEXT NOT NULL,
    replaced       TEXT,                -- null: never overwritten
    deleted        TEXT,                -- null: alive
    doc            TEXT NOT NULL        -- JSON: modality, classification, tags, info, …
) STRICT;

CREATE UNIQUE INDEX files_by_name ON files (container_id, name) WHERE deleted IS NULL;
-- Tickets see files that were deleted after they were minted, so these two hold all.
CREATE INDEX files_by_container ON files (container_id, id);
CREATE INDEX files_by_place ON files (container_id, name);
CREATE INDEX files_by_project ON files (project_id, id) WHERE deleted IS NULL;

-- Every content that was ever stored under a file, in the order of its coming (seq).
CREATE TABLE versions (
    seq       INTEGER PRIMARY KEY,
    file_id   TEXT NOT NULL,
    version   INTEGER NOT NULL,         -- 1 upwards
    object_id TEXT NOT NULL,
    type      TEXT,
    mimetype  TEXT NOT NULL,
    size      INTEGER NOT NULL,
    sha384    TEXT NOT NULL,
    origin    TEXT NOT NULL,
    created   TEXT NOT NULL,
    doc       TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX versions_by_file ON versions (file_id, version);
