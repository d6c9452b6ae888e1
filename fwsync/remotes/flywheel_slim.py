"""Pages of files of which no more is read than what decides something: typed, and by C.

Its rule: what is not quite as expected is refused here, which leaves it to whoever reads all of
a page to say what is wrong with it, if anything is. What is told of a file never depends on
which of the two has read it.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from fwsync.digest import from_flywheel_hash
from fwsync.model import RelPath
from fwsync.ports import ListedRow
from fwsync.remotes.flywheel_wire import LARGEST, LEVEL_OF, WireFile, modified_of

_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Number = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]


class LiesIn(msgspec.Struct, gc=False):
    """What holds a file."""

    type: _Text
    id: _Text


class Above(msgspec.Struct, gc=False):
    """What lies above that: asked about only where the lists of containers lacked it."""

    subject: str | None = None
    session: str | None = None


class SlimFile(msgspec.Struct, gc=False):
    """A file of a list, without what :func:`fwsync.remotes.flywheel_wire.file_of` does not read."""

    name: _Text
    size: _Number
    file_id: _Text
    parent_ref: LiesIn
    parents: Above
    hash: str | None = None
    version: _Number | None = None
    modified: str | None = None
    deleted: str | None = None


class SlimPage(msgspec.Struct, gc=False):
    """One page of a list of files."""

    results: list[SlimFile]
    total: _Number | None = None


_PAGE = msgspec.json.Decoder(SlimPage)


def slim_page(body: bytearray) -> SlimPage:
    """The JSON of a page of files.

    Raises:
        ValueError: it is none, or one that is not quite as expected: read all of it then.
    """
    if not body.isascii():
        body.decode()  # also of what is passed over: a byte that is no text spoils a page
    return _PAGE.decode(body)


def wire_of(file: SlimFile) -> WireFile:
    """The same as who reads all of a page has it."""
    above = {"subject": file.parents.subject, "session": file.parents.session}
    return WireFile(
        file.name,
        file.size,
        file.hash or "",
        file.file_id,
        1 if file.version is None else file.version,
        modified_of(file.modified),
        LEVEL_OF.get(file.parent_ref.type),
        file.parent_ref.id,
        above,
        bool(file.deleted),
    )


def row_of(file: SlimFile, path: RelPath, level: str) -> ListedRow:
    """The row of a file: what :meth:`WireFile.entry` has, without an object for each."""
    version = 1 if file.version is None else file.version
    return (
        path,
        file.size,
        file.hash or f"v{version}:{file.file_id}:{file.size}",
        from_flywheel_hash(file.hash),
        level,
        file.parent_ref.id,
        file.name,
        file.file_id,
        version,
        modified_of(file.modified),
    )
