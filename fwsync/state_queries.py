"""The longer SQL of :mod:`fwsync.state`: text and constants, nothing is asked here."""

from __future__ import annotations

_LOCAL = "path, size, mtime_ns, ctime_ns, device, inode, disk_path"

#: A hash counts only if a later write must have changed the stamp (``state.GRANULARITY_NS``).
#: A write sets mtime to the clock, so only a file whose mtime is within one tick of the
#: hashing can change unseen; one whose time was set, back or forward, cannot. (To fool
#: this, a tool must rewrite a file and set its old time again within that very tick.)
#: A hash whose time is not known (0) is never trusted.
_TRUSTED = "(hashed_at_ns > 0 AND abs(hashed_at_ns - mtime_ns) >= :granularity)"
_KNOWN = f"iif({_TRUSTED}, l.etag, NULL) AS etag, iif({_TRUSTED}, l.digest, NULL) AS digest"

LOCAL_PAGE = f"SELECT {_LOCAL}, {_KNOWN} FROM local_file AS l"  # noqa: S608 - constants
STAMP_PAGE = f"SELECT {_LOCAL} FROM local_file"  # noqa: S608 - constants
REMOTE_PAGE = "SELECT * FROM temp.remote_file"
BASE_PAGE = "SELECT path, size, local_etag, remote_etag, digest, held FROM base"

# A file is read if that can change its verdict: without its tag, where the size equals
# the base's or the server's; with its tag but no digest, where both sides changed to the
# same size and the server gives a hash. A digest is wanted where the server's is not the
# base's: only there are contents compared across.
TO_HASH = f"""
SELECT path, size, mtime_ns, ctime_ns, device, inode, disk_path, etag, digest, wanted FROM (
    SELECT l.path, l.size, mtime_ns, ctime_ns, device, inode, disk_path, {_KNOWN},
        b.size IS l.size AS like_base, r.size IS l.size AS like_remote,
        b.local_etag AS base_etag,
        r.size IS l.size AND r.digest IS NOT NULL AND r.etag IS NOT b.remote_etag AS wanted,
        :renames AND b.path IS NULL AND l.size IN (
            SELECT gone.size FROM base AS gone LEFT JOIN local_file AS here USING (path)
            WHERE here.path IS NULL
        ) AS maybe_renamed
    FROM local_file AS l LEFT JOIN base AS b USING (path)
        LEFT JOIN temp.remote_file AS r USING (path)
    WHERE l.path > :after
) WHERE iif(etag IS NULL, like_base OR like_remote OR maybe_renamed,
    digest IS NULL AND wanted AND etag IS NOT base_etag)
ORDER BY path LIMIT :limit
"""  # noqa: S608 - put together from constants

REMOTE_TABLE = """
CREATE TEMP TABLE remote_file (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, etag TEXT NOT NULL, digest TEXT,
    container_level TEXT NOT NULL, container_id TEXT NOT NULL, name TEXT NOT NULL,
    file_id TEXT NOT NULL, version INTEGER NOT NULL, modified_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID
"""

PUT_SCANNED = f"""
INSERT INTO local_file ({_LOCAL}) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (path) DO UPDATE SET (size, mtime_ns, ctime_ns, device, inode, disk_path) =
    (excluded.size, excluded.mtime_ns, excluded.ctime_ns, excluded.device, excluded.inode,
    excluded.disk_path), etag = NULL, digest = NULL, hashed_at_ns = NULL
"""  # noqa: S608 - put together from constants

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

AGREE = """
INSERT INTO base (path, size, local_etag, remote_etag, digest, container_level, container_id,
    file_id, version, held) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '')
ON CONFLICT (path) DO UPDATE SET (size, local_etag, remote_etag, digest, container_level,
    container_id, file_id, version, held) = (excluded.size, excluded.local_etag,
    excluded.remote_etag, excluded.digest, excluded.container_level, excluded.container_id,
    excluded.file_id, excluded.version, '')
"""

FAILED = """
INSERT INTO problem VALUES (:path, :message, :hint, :retryable, 1, :now, :now)
ON CONFLICT (path) DO UPDATE SET (message, hint, retryable, attempts, last_seen_ns) =
    (:message, :hint, :retryable, attempts + 1, :now)
"""
