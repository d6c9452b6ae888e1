-- For pull: what came down, under which names, and how far.

-- Names remembered by id ---------------------------------------------------------------

-- The name that a container of the server was given here, or a file whose plain name was
-- taken by a folder: it stays, whichever of its namesakes come and go. Of files, only those
-- have a row which have another name than their plain one. Without it, names are given anew.
CREATE TABLE given_name (
    id TEXT NOT NULL,           -- on the server; of a file without one, its container's
    is_file INTEGER NOT NULL CHECK (is_file IN (0, 1)),
    label TEXT NOT NULL,        -- as we say it; another label gets another name
    parent_id TEXT NOT NULL,    -- of the container that holds it
    name TEXT NOT NULL,         -- in the folder of that container
    PRIMARY KEY (id, is_file, label)
) STRICT, WITHOUT ROWID;

-- ---------------------------------------------------------------- large files on their way here

-- One row for each file that comes in pieces and is not all there. Its part lies in the folder
-- for parts. A row too many costs a look at the disk, a missing one costs fetching again.
CREATE TABLE download (
    path TEXT PRIMARY KEY,
    validator TEXT NOT NULL,    -- of what is fetched: where it has changed, the part is of no use
    piece_size INTEGER NOT NULL,
    mark TEXT NOT NULL,         -- what the server called the content (ETag); '': nothing
    used_ns INTEGER NOT NULL    -- when a run last began it, or went on with it
) STRICT, WITHOUT ROWID;

-- The pieces that are on the disk, or how each begins: a row is written after these bytes were
-- made durable.
CREATE TABLE download_piece (
    path TEXT NOT NULL REFERENCES download (path) ON DELETE CASCADE,
    number INTEGER NOT NULL,    -- from 0
    size INTEGER NOT NULL,      -- bytes from its start on that are there
    tag TEXT NOT NULL,          -- of these bytes, as they came
    PRIMARY KEY (path, number)
) STRICT, WITHOUT ROWID;

-- ---------------------------------------------- what was written here beside the user's files

-- A file that stands here because the server said or holds something beside the files of its
-- containers: a sidecar of metadata, or a file of an analysis. Written after the file has its
-- name. It is never sent, and its absence is no deletion.
CREATE TABLE extra (
    path TEXT PRIMARY KEY,      -- on this disk
    kind TEXT NOT NULL CHECK (kind IN ('sidecar', 'analysis')),
    key TEXT NOT NULL,          -- what it is of, by ids: stays when labels change
    remote_etag TEXT NOT NULL,  -- of a sidecar, the tag of the bytes that were written
    local_etag TEXT NOT NULL,
    size INTEGER NOT NULL,      -- this and what follows: as it was written
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    device INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    hashed_at_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- ------------------------------------------------------------- places that the server tells of

-- Where a file lies here because the server says so, as in a project that is curated for BIDS;
-- a layout alone could not tell. It stays as long as the file is agreed on.
CREATE TABLE told_place (
    path TEXT PRIMARY KEY,      -- as base.path
    disk TEXT NOT NULL UNIQUE   -- below the root
) STRICT, WITHOUT ROWID;
