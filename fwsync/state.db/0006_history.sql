-- What happened to each file, and what a person says about files in conflict.

-- Something that happened to a file. Rows are added, let go when they are old, and never changed.
-- In the order of their keys they tell the story of a path.
CREATE TABLE event (
    path TEXT NOT NULL,         -- as base.path, after what happened
    run INTEGER NOT NULL,       -- as run.id; that row may be let go earlier. 0: outside of a run
    number INTEGER NOT NULL,    -- of the events of this run, in the order in which they happened
    at_ns INTEGER NOT NULL,     -- when it was recorded
    -- upload, download, adopt, rename, moved (the file went to `other`), delete-local,
    -- delete-remote, hold, forget, conflict, problem, restore, resolve
    what TEXT NOT NULL,
    size INTEGER,               -- bytes; this and the next two are of the file afterwards, or of
                                -- the one that went. NULL: not known
    digest BLOB,                -- SHA-384, 48 bytes
    version INTEGER,            -- on the server
    other TEXT,                 -- another path that has to do with it: where it came from or went
                                -- to, or a conflict copy; NULL: none
    kept TEXT,                  -- where the bytes are that lost their name: 'trash RUN', or
                                -- 'version N' on the server; NULL: there were none, or the
                                -- server keeps them by its own rules
    reason TEXT,                -- for people; NULL: nothing to add
    PRIMARY KEY (path, run, number)
) STRICT, WITHOUT ROWID;

-- What of the conflict copies must be known before they are touched.
ALTER TABLE conflict ADD COLUMN run INTEGER;        -- that made the copy; NULL: before 0006
ALTER TABLE conflict ADD COLUMN remote_etag TEXT;   -- of what keeps the path; NULL: before 0006
ALTER TABLE conflict ADD COLUMN copy_size INTEGER;  -- bytes, as the copy was made; NULL: before 0006
ALTER TABLE conflict ADD COLUMN copy_mtime_ns INTEGER; -- likewise
-- The copy is about to take its path back: its inode, size, mtime_ns and digest, as JSON.
-- NULL: it is not. Written before the first step, so that a command that was killed goes on.
ALTER TABLE conflict ADD COLUMN taking_back TEXT;

-- A file in conflict of which no copy was made, as the settings say so: nothing was touched.
-- Gone once it is settled, or is no conflict any more.
CREATE TABLE standoff (
    path TEXT PRIMARY KEY,      -- as base.path
    source TEXT NOT NULL,       -- as local_file.path: where it lies here; '': it is a pack
    first_seen_ns INTEGER NOT NULL,
    last_seen_ns INTEGER NOT NULL,
    run INTEGER NOT NULL,       -- that saw it first, as run.id
    size INTEGER NOT NULL,      -- this and the next four: the stamp of the file here
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    device INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    local_digest TEXT,          -- NULL: was not computed, the sizes told enough
    remote_etag TEXT NOT NULL,
    remote_size INTEGER NOT NULL,
    remote_digest TEXT,         -- NULL: the server gave none
    remote_modified_ns INTEGER NOT NULL, -- by the server's clock
    version INTEGER NOT NULL,
    -- what a person has said of exactly this file here and exactly that file there
    choice TEXT NOT NULL DEFAULT '' CHECK (choice IN ('', 'local', 'remote', 'keep-both'))
) STRICT, WITHOUT ROWID;
