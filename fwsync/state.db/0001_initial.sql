-- The first state file. Forward only: once landed, this file is never edited.
--
-- Every path is relative to the root, POSIX, NFC; it sorts by its UTF-8 bytes (BINARY),
-- which is the order of Python's sorted() on str. Times ending in _ns are nanoseconds
-- since 1970 by this machine's wall clock, or by the file system's for mtime and ctime.
-- Integers of stat that need 64 bits without a sign are stored as the signed integer
-- with the same bits.

-- One row for each migration that was applied, written in its transaction.
CREATE TABLE migration (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at_ns INTEGER NOT NULL
) STRICT;

-- What this state belongs to and what was last agreed with the user: the remote, the
-- root's marker, the hash of the filters. Never a secret.
CREATE TABLE setting (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The index: a regular file below the root as the last scan saw it. It is a cache of
-- hashes: without it every file is read again, and nothing else happens.
CREATE TABLE local_file (
    path TEXT PRIMARY KEY,
    disk_path TEXT,             -- NULL: the file system spells it like path
    size INTEGER NOT NULL,      -- bytes
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    device INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    etag TEXT,                  -- NULL: not read since this stamp
    digest TEXT,                -- NULL: not needed so far; etag may be known all the same
    hashed_at_ns INTEGER,       -- just before the stat that followed the reading; NULL as etag
    CHECK ((etag IS NULL) = (hashed_at_ns IS NULL)),
    CHECK (etag IS NOT NULL OR digest IS NULL)
) STRICT, WITHOUT ROWID;

-- The base: what both sides last agreed on. No row here says more than what is on disk
-- and on the server already: it is written after both.
CREATE TABLE base (
    path TEXT PRIMARY KEY,
    size INTEGER NOT NULL,      -- bytes
    local_etag TEXT NOT NULL,
    remote_etag TEXT NOT NULL,
    digest TEXT,                -- NULL: the server gave no hash and none was computed here
    container_level TEXT NOT NULL,
    container_id TEXT NOT NULL,
    file_id TEXT NOT NULL,      -- '': the server gives none
    version INTEGER NOT NULL,
    -- a deletion seen on that side and not propagated; '': none
    held TEXT NOT NULL DEFAULT '' CHECK (held IN ('', 'local', 'remote'))
) STRICT, WITHOUT ROWID;

-- A conflict that kept both: the remote kept the path, the local bytes went to copy_path.
CREATE TABLE conflict (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL,
    copy_path TEXT NOT NULL UNIQUE,
    at_ns INTEGER NOT NULL,
    local_digest TEXT,          -- NULL: was not computed, the sizes told enough
    remote_digest TEXT,         -- NULL: the server gave none
    closed_at_ns INTEGER        -- NULL: still open
) STRICT;

CREATE INDEX conflict_open ON conflict (path) WHERE closed_at_ns IS NULL;

-- A run of a command that may change something.
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    command TEXT NOT NULL,
    remote TEXT NOT NULL,
    started_ns INTEGER NOT NULL,
    ended_ns INTEGER,           -- NULL: it runs, or it was killed
    exit_code INTEGER,          -- NULL as ended_ns
    summary TEXT                -- JSON; NULL as ended_ns
) STRICT;

-- What failed about a path the last time it was tried; gone once it succeeds.
CREATE TABLE problem (
    path TEXT PRIMARY KEY,      -- as shown: may be no valid relative path
    message TEXT NOT NULL,
    hint TEXT NOT NULL,
    retryable INTEGER NOT NULL CHECK (retryable IN (0, 1)),
    attempts INTEGER NOT NULL,
    first_seen_ns INTEGER NOT NULL,
    last_seen_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
