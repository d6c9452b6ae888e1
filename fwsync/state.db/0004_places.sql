-- For layouts that put files elsewhere than where they lie, and for packs.

-- Which files of this disk an agreed file was made of: one, or the members of a pack. Not
-- written where it is the file at the same path. Without it, a folder that cannot be read
-- or is filtered out would not be known to hold them.
CREATE TABLE base_source (
    path TEXT NOT NULL,
    source TEXT NOT NULL,       -- as local_file.path
    PRIMARY KEY (path, source)
) STRICT, WITHOUT ROWID;

CREATE INDEX base_source_by_source ON base_source (source);

CREATE TRIGGER base_gone AFTER DELETE ON base BEGIN
    DELETE FROM base_source WHERE path = OLD.path;
END;

-- The header of a file, which a layout reads labels from. A cache: without it, headers are
-- read again.
CREATE TABLE header (
    path TEXT PRIMARY KEY,      -- as local_file.path
    size INTEGER NOT NULL,      -- this and what follows: the stamp that it was read with
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    device INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    read_at_ns INTEGER NOT NULL, -- just before the file was last seen with this stamp
    text TEXT NOT NULL          -- JSON; '': the file has none
) STRICT, WITHOUT ROWID;

-- The digest of the zip that members with this tag make, which are always the same bytes.
CREATE TABLE pack_digest (
    etag TEXT PRIMARY KEY,
    digest TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The label that a session or acquisition was given which a header names by its UID. It
-- stays, whatever other series of that label turn up later. One UID may come under several
-- subjects, so it is known by what is above it as well.
CREATE TABLE uid_label (
    parent TEXT NOT NULL,       -- JSON: the labels above it, from the group down
    uid TEXT NOT NULL,
    label TEXT NOT NULL,
    PRIMARY KEY (parent, uid)
) STRICT, WITHOUT ROWID;
