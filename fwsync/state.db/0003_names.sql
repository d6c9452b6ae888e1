-- For labels and file names that a server refuses or alters.

-- A name of ours that the server has under another one. Written before a file is sent or a
-- container made under that name, so a row may speak of something that never came to be. A
-- row's two names are the only ones for each other: two of ours never become one.
CREATE TABLE alias (
    parent_id TEXT NOT NULL,    -- id, on the server, of the container that holds it
    is_file INTEGER NOT NULL CHECK (is_file IN (0, 1)), -- 0: the label of a container
    theirs TEXT NOT NULL,
    ours TEXT NOT NULL,         -- may be empty, as a label may be
    PRIMARY KEY (parent_id, is_file, theirs),
    UNIQUE (parent_id, is_file, ours)
) STRICT, WITHOUT ROWID;
