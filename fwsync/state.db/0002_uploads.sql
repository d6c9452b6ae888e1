-- Uploads that were begun and whose end is not known. Forward only: once landed, this file is
-- never edited. What its columns have in common with others is said in 0001.

-- One row for each ticket that the server gave us and that was neither redeemed nor given up.
-- It is written after the ticket came and dropped after its end: a row too many costs a
-- question, a missing one costs sending again.
CREATE TABLE upload (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL,
    stamp TEXT NOT NULL,        -- of what was to be sent; '': cannot be told, so not taken up again
    route TEXT NOT NULL,        -- the way that the file went: only this one can read the note
    note TEXT NOT NULL,         -- JSON. Of uploads in parts it holds signed addresses, which are
                                -- secrets for their life: see docs/decisions/0009
    begun_ns INTEGER NOT NULL
) STRICT;

CREATE INDEX upload_path ON upload (path, route);

-- The parts that the store has confirmed.
CREATE TABLE upload_part (
    upload INTEGER NOT NULL REFERENCES upload (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,    -- from 1
    tag TEXT NOT NULL,          -- what the store calls it (ETag); '': nothing
    PRIMARY KEY (upload, number)
) STRICT, WITHOUT ROWID;
