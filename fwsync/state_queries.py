"""The longer SQL of :mod:`fwsync.state`: text and constants, nothing is asked here."""

from __future__ import annotations

#: Rows that one statement takes: an interpreter that hands a row at a time to SQLite lets its
#: other threads in between, twice for each, and waits for them.
ROWS = 64

LOCAL = "path, size, mtime_ns, ctime_ns, device, inode, disk_path"

#: A hash counts only if a later write must have changed the stamp (``state.GRANULARITY_NS``).
#: A write sets mtime to the clock, so only a file whose mtime is within one tick of the
#: hashing can change unseen; one whose time was set, back or forward, cannot. (To fool
#: this, a tool must rewrite a file and set its old time again within that very tick.)
#: A hash whose time is not known (0) is never trusted.
_TRUSTED = "(hashed_at_ns > 0 AND abs(hashed_at_ns - mtime_ns) >= :granularity)"
KNOWN = f"iif({_TRUSTED}, l.etag, NULL) AS etag, iif({_TRUSTED}, l.digest, NULL) AS digest"

LOCAL_PAGE = f"SELECT {LOCAL}, {KNOWN} FROM local_file AS l"  # noqa: S608 - constants
STAMP_PAGE = f"SELECT {LOCAL} FROM local_file"  # noqa: S608 - constants
REMOTE_PAGE = "SELECT * FROM temp.remote_file"
#: Where a layout puts files elsewhere: the entries it makes, see ``state_places``.
MAPPED_PAGE = f"SELECT {LOCAL}, {KNOWN}, source, kind FROM temp.mapped AS l"  # noqa: S608 - constants
BASE_PAGE = (
    "SELECT path, size, local_etag, remote_etag, digest, held, container_id, file_id, version"
    " FROM base"
)

# A file is read if that can change its verdict: without its tag, where the size equals
# the base's or the server's; with its tag but no digest, where both sides changed to the
# same size and the server gives a hash. A digest is wanted where the server's is not the
# base's: only there are contents compared across.
# A pack that may be compressed there is smaller there: then its hash alone can be compared.
# The local side is the index, or what a layout makes of it.
_TO_HASH = f"""
SELECT path, size, mtime_ns, ctime_ns, device, inode, disk_path, etag, digest, source, kind,
    wanted FROM (
    SELECT l.path, l.size, mtime_ns, ctime_ns, device, inode, disk_path, {KNOWN}, $SOURCE,
        b.size IS l.size AS like_base, $LIKE_REMOTE AS like_remote,
        b.local_etag AS base_etag,
        $LIKE_REMOTE AND r.digest IS NOT NULL AND r.etag IS NOT b.remote_etag AS wanted,
        :renames AND b.size IS NOT l.size AND l.size IN (
            SELECT gone.size FROM base AS gone LEFT JOIN $LOCAL AS here USING (path)
            WHERE gone.path NOT IN temp.in_step AND gone.held <> 'local'
                AND here.size IS NOT gone.size
        ) AS maybe_renamed
    FROM $LOCAL AS l LEFT JOIN base AS b USING (path)
        LEFT JOIN temp.remote_file AS r USING (path)
    WHERE l.path > :after AND l.path NOT IN temp.in_step AND l.path NOT IN temp.left_out
) WHERE iif(etag IS NULL, like_base OR like_remote OR maybe_renamed,
    digest IS NULL AND wanted AND etag IS NOT base_etag)
ORDER BY path LIMIT :limit
"""  # noqa: S608 - put together from constants
_LIKE_REMOTE = "r.size IS l.size"
_LIKE_REMOTE_PACKED = f"""({_LIKE_REMOTE} OR (:deflates AND kind IS NOT NULL AND r.size < l.size
            AND r.digest IS NOT NULL AND r.etag IS NOT b.remote_etag))"""
TO_HASH = (
    _TO_HASH.replace("$LOCAL", "local_file")
    .replace("$SOURCE", "NULL AS source, NULL AS kind")
    .replace("$LIKE_REMOTE", _LIKE_REMOTE)
)
TO_HASH_MAPPED = (
    _TO_HASH.replace("$LOCAL", "temp.mapped")
    .replace("$SOURCE", "source, kind")
    .replace("$LIKE_REMOTE", _LIKE_REMOTE_PACKED)
)

REMOTE_TABLE = """
CREATE TEMP TABLE remote_file (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, etag TEXT NOT NULL, digest TEXT,
    container_level TEXT NOT NULL, container_id TEXT NOT NULL, name TEXT NOT NULL,
    file_id TEXT NOT NULL, version INTEGER NOT NULL, modified_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID
"""

_LISTED = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
PUT_LISTED = f"INSERT INTO temp.remote_file VALUES {_LISTED}"  # noqa: S608 - marks
PUT_LISTED_ROWS = PUT_LISTED.replace(_LISTED, ", ".join([_LISTED] * ROWS))

#: The files that are the same on both sides as they were agreed on: nothing is said of them.
#: Another file of the same bytes is not the same: what was there may have moved.
IN_STEP_TABLE = "CREATE TEMP TABLE in_step (path TEXT PRIMARY KEY) STRICT, WITHOUT ROWID"
_IN_STEP = f"""
INSERT INTO temp.in_step SELECT path FROM $LOCAL AS l JOIN base AS b USING (path)
    JOIN temp.remote_file AS r USING (path)
WHERE l.etag = b.local_etag AND {_TRUSTED} AND r.etag = b.remote_etag AND b.held = ''
    AND r.container_id = b.container_id AND b.file_id IN ('', r.file_id)
ORDER BY path
"""  # noqa: S608 - put together from constants
IN_STEP = _IN_STEP.replace("$LOCAL", "local_file")
IN_STEP_MAPPED = _IN_STEP.replace("$LOCAL", "temp.mapped")
#: Each of them has a row in all three trees, so these are whole where none has more rows.
_ALL_IN_STEP = """SELECT all_ = (SELECT count(*) FROM $LOCAL) AND all_ = (SELECT count(*) FROM base)
    AND all_ = (SELECT count(*) FROM temp.remote_file)
    FROM (SELECT count(*) AS all_ FROM temp.in_step)"""
ALL_IN_STEP = _ALL_IN_STEP.replace("$LOCAL", "local_file")
ALL_IN_STEP_MAPPED = _ALL_IN_STEP.replace("$LOCAL", "temp.mapped")
#: Of what a selection does not leave out.
TAKES_PART = "path NOT IN temp.left_out"
#: Of the pages of the three trees.
OUT_OF_STEP = "path NOT IN temp.in_step"

PUT_SCANNED = f"""
INSERT INTO local_file ({LOCAL}) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (path) DO UPDATE SET (size, mtime_ns, ctime_ns, device, inode, disk_path) =
    (excluded.size, excluded.mtime_ns, excluded.ctime_ns, excluded.device, excluded.inode,
    excluded.disk_path), etag = NULL, digest = NULL, hashed_at_ns = NULL
"""  # noqa: S608 - put together from constants

_HASHED = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
#: A file that was hashed on its way here.
PUT_HASHED = f"""
INSERT INTO local_file ({LOCAL}, etag, digest, hashed_at_ns) VALUES {_HASHED}
ON CONFLICT (path) DO UPDATE SET (size, mtime_ns, ctime_ns, device, inode, disk_path, etag, digest,
    hashed_at_ns) = (excluded.size, excluded.mtime_ns, excluded.ctime_ns, excluded.device,
    excluded.inode, excluded.disk_path, excluded.etag, excluded.digest, excluded.hashed_at_ns)
"""  # noqa: S608 - put together from constants
PUT_HASHED_ROWS = PUT_HASHED.replace(_HASHED, ", ".join([_HASHED] * ROWS))

_SAME_STAMP = """
path = :path AND size = :size AND mtime_ns = :mtime AND ctime_ns = :ctime
AND device = :device AND inode = :inode
"""
# The digest of the same bytes stays where only the tag was computed again.
REMEMBER = f"""
UPDATE local_file SET digest = coalesce(:digest, iif(etag = :etag, digest, NULL)), etag = :etag,
    hashed_at_ns = iif(etag = :etag, max(hashed_at_ns, :hashed_at), :hashed_at)
WHERE {_SAME_STAMP}
"""  # noqa: S608 - put together from constants

_AGREED = "(?, ?, ?, ?, ?, ?, ?, ?, ?, '')"
AGREE = f"""
INSERT INTO base (path, size, local_etag, remote_etag, digest, container_level, container_id,
    file_id, version, held) VALUES {_AGREED}
ON CONFLICT (path) DO UPDATE SET (size, local_etag, remote_etag, digest, container_level,
    container_id, file_id, version, held) = (excluded.size, excluded.local_etag,
    excluded.remote_etag, excluded.digest, excluded.container_level, excluded.container_id,
    excluded.file_id, excluded.version, '')
"""  # noqa: S608 - put together from constants
AGREE_ROWS = AGREE.replace(_AGREED, ", ".join([_AGREED] * ROWS))

_EVENT = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
#: Something that happened. What has happened twice at one moment is told once.
PUT_EVENT = f"INSERT OR REPLACE INTO event VALUES {_EVENT}"  # noqa: S608 - marks
PUT_EVENT_ROWS = PUT_EVENT.replace(_EVENT, ", ".join([_EVENT] * ROWS))

FAILED = """
INSERT INTO problem VALUES (:path, :message, :hint, :retryable, 1, :now, :now)
ON CONFLICT (path) DO UPDATE SET (message, hint, retryable, attempts, last_seen_ns) =
    (:message, :hint, :retryable, attempts + 1, :now)
"""
