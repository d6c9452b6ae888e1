"""A pack as an entry: many local files that are one file on the server.

The one rule: whatever changes in a member changes the pack's stamp, and what the members
hold, and nothing else, makes its tag.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from fwsync.digest import Digest, pack_tag, short_number
from fwsync.model import LocalEntry, Pack, PackMember, RelPath, Stamp
from fwsync.zipstream import zip_size


def pack_entry(
    path: RelPath,
    kind: str,
    members: Sequence[PackMember],
    digest: Digest | None = None,
    *,
    deflated: bool = False,
) -> LocalEntry:
    """The entry of a pack.

    Its stamp is made up: the size of its zip if all is stored (compressed, it is never larger),
    the newest times of its members, and in place of an inode a number over all their stamps.
    Its tag is known where each member's is.

    Args:
        path: where the zip belongs.
        kind: what the server is told that it is.
        members: each name once; at least one.
        digest: of the zip, where it is known.
        deflated: the zip that it is taken for is compressed.

    Raises:
        FileProblem: a name cannot stand in a zip.
    """
    members = sorted(members, key=lambda one: one.name)
    stamps = [one.entry.stamp for one in members]
    told = "\n".join(f"{one.name}\0{one.entry.stamp}" for one in members)
    stamp = Stamp(
        size=zip_size((one.name, one.entry.size) for one in members),
        mtime_ns=max(one.mtime_ns for one in stamps),
        ctime_ns=max(one.ctime_ns for one in stamps),
        device=0,
        inode=short_number(told),
    )
    etag = None
    tags = [(one.name, one.entry.size, one.entry.etag) for one in members]
    if all(tag is not None for _, _, tag in tags):
        etag = pack_tag((name, size, tag) for name, size, tag in tags if tag is not None)
    pack = Pack(kind, tuple(members), deflated)
    return LocalEntry(path, stamp, etag, digest if etag else None, pack=pack)


def shared_folder(pack: LocalEntry) -> str:
    """The deepest folder of this disk that all members of a pack lie in; empty: the root."""
    assert pack.pack is not None, f"{pack.path}: is no pack"
    return posixpath.commonpath([posixpath.dirname(one.entry.on_disk) for one in pack.pack.members])
