"""Several files in one request: sent as one, judged one by one.

The one rule: whatever becomes of the request, each file gets an answer of its own, and one
that leads to a look wherever it may be on the server by now.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from fwsync.errors import (
    FileProblem,
    Forbidden,
    FwsyncError,
    Garbled,
    NotFound,
    Refused,
    RemoteError,
    Unavailable,
)
from fwsync.model import RelPath
from fwsync.ports import Sent, Upload
from fwsync.remotes.body import Body
from fwsync.remotes.flywheel_wire import Json, page_of
from fwsync.remotes.multipart import FilePart, form
from fwsync.remotes.routes.parcel import Parcel

#: Files in one request, at most. Measured with 256 files of 20 KB, one request after the other,
#: and a server 50 ms away: 15.0 s with one file in each, 2.0 s with 16, 1.1 s with 64, 1.0 s with
#: 128, of which the listing and the containers take 0.6 s. More than 64 win next to nothing, and
#: a request that fails then costs more, and keeps more finished files waiting.
MOST_FILES: Final = 64

#: Bytes in one request that carries several files: half a second at 100 Mbit/s. Larger files
#: hide their own round trip.
MOST_BYTES: Final = 4 << 20

#: A request smaller than this is not halved once more for a proxy that finds it too large.
LEAST_BYTES: Final = 64 << 10

#: How often a file's request may fail before the file goes alone: one that upsets the server
#: must not take 63 others with it for ever.
TOGETHER_TRIES: Final = 2

#: Sends a lot; is given the parcels, and what to tell of each file whose turn comes.
Post: TypeAlias = Callable[[Sequence[Parcel], Callable[[Upload], None]], Awaitable[object]]


@dataclass(slots=True)
class Result:
    """What became of a lot."""

    sent: list[Sent] = field(default_factory=list)
    left: list[Parcel] = field(default_factory=list)  #: certainly not taken, and nobody's fault
    refusal: Refused | None = None  #: why they are left
    fewer: bool = False  #: the answer did not name all

    def most_bytes(self, most: int) -> int:
        """Bytes of the next request: as many as before, or fewer where this had too many."""
        size = sum(parcel.upload.size for parcel in self.left)
        if self.refusal is None or self.refusal.status != 413 or size <= LEAST_BYTES:
            return most
        return min(most, max(size // 2, LEAST_BYTES))


class Memory:
    """Which files had better go alone."""

    def __init__(self) -> None:
        self._failed: dict[RelPath, int] = {}

    def goes_alone(self, parcel: Parcel) -> bool:
        """True if requests that it was part of have failed too often."""
        return self._failed.get(parcel.upload.path, 0) >= TOGETHER_TRIES

    def failed(self, lot: Sequence[Parcel], times: int = 1) -> None:
        """A request with these did not succeed."""
        for parcel in lot:
            path = parcel.upload.path
            self._failed[path] = self._failed.get(path, 0) + times

    def ended(self, lot: Sequence[Parcel]) -> None:
        """These are through, or were sent alone."""
        for parcel in lot:
            self._failed.pop(parcel.upload.path, None)


async def send_together(lot: Sequence[Parcel], post: Post, memory: Memory, route: str) -> Result:
    """Send a lot by one request; by more where a file fails while it is read.

    A request that is broken off for one file's sake never reaches its length, so nothing of it
    is taken, and the others are sent again without that file.
    """
    result = Result()
    left = list(lot)
    while left:
        reading: list[Upload] = []
        try:
            answer = await post(left, reading.append)
        except FileProblem as error:
            # Only what is read can raise it; the one whose turn came last was being read.
            broken = next(one for one in left if not reading or one.upload is reading[-1])
            result.sent.append(Sent(broken.upload.path, error=error, route=route))
            left.remove(broken)
        except Refused as error:
            result.left, result.refusal = left, error
            return result
        except FwsyncError as error:
            result.sent += _failed(left, error, memory, route)
            return result
        else:
            told, result.fewer = _judged(left, answer, memory, route)
            result.sent += told
            return result
    return result


def _failed(
    lot: Sequence[Parcel], error: FwsyncError, memory: Memory, route: str
) -> Iterator[Sent]:
    """What each file of a request that failed is told."""
    if isinstance(error, Unavailable):
        memory.failed(lot)
    elif isinstance(error, RemoteError) and not isinstance(error, Forbidden | NotFound):
        # A 500, or a page in place of an answer: one of them may be the reason, and all may be
        # there. They are looked for, and what is not there goes alone.
        if len(lot) > 1:
            memory.failed(lot, TOGETHER_TRIES)
            error = Unavailable(error.message, status=error.status, hint=error.hint)
        else:
            memory.ended(lot)
    for parcel in lot:
        yield Sent(parcel.upload.path, error=error, route=route)


def _judged(
    lot: Sequence[Parcel], answer: object, memory: Memory, route: str
) -> tuple[list[Sent], bool]:
    """What each file is told after an answer, and whether it left some out."""
    try:
        items = page_of(answer, lot[0].upload.path).items
    except Garbled as error:
        return list(_failed(lot, error, memory, route)), False
    told = list(_told(lot, items, route))
    memory.ended(lot)
    return told, any(isinstance(one.error, Unavailable) for one in told)


def _told(lot: Sequence[Parcel], items: Sequence[Json], route: str) -> Iterator[Sent]:
    """What an answer says of each file: one entry of its name is believed, nothing else."""
    ours = {parcel.name for parcel in lot}
    by_name: dict[object, list[Json]] = {}
    for item in items:
        by_name.setdefault(item.get("name"), []).append(item)
    strangers = [item.get("name") for item in items if item.get("name") not in ours]
    for parcel in lot:
        path = parcel.upload.path
        try:
            found = by_name.get(parcel.name, [])
            if len(found) != 1:
                raise _unnamed(path, len(found), strangers)
            yield Sent(path, entry=parcel.entry(found[0]), route=route)
        except FwsyncError as error:
            yield Sent(path, error=error, route=route)


def _unnamed(path: str, times: int, strangers: Sequence[object]) -> FwsyncError:
    if times:
        return Garbled(f"{path}: one file was sent, {times} of its name were acknowledged")
    if strangers:
        return Garbled(f"{path}: the server stored it as {strangers[0]!r}, or something else")
    return Unavailable(f"{path}: the server's answer does not say that it has it")


def lots(
    parcels: Sequence[Parcel],
    key: Callable[[Parcel], object],
    *,
    most_bytes: int = MOST_BYTES,
) -> Iterator[list[Parcel]]:
    """Group parcels for one request each: of one key, each name once, by count and bytes."""
    open_lots: dict[object, tuple[dict[str, Parcel], int]] = {}  # by name, and their bytes
    for parcel in parcels:
        which = key(parcel)
        lot, size = open_lots.get(which, ({}, 0))
        full = len(lot) >= MOST_FILES or size + parcel.upload.size > most_bytes
        if lot and (full or parcel.name in lot):
            yield list(lot.values())
            lot, size = {}, 0
        lot[parcel.name] = parcel
        open_lots[which] = lot, size + parcel.upload.size
    for lot, _ in open_lots.values():
        yield list(lot.values())


def form_of(
    lot: Sequence[Parcel],
    metadata: Json,
    began: Callable[[Upload], None],
    field_name: str = "file",
) -> Callable[[], Body]:
    """Makes the body of a form with these files, anew for each try."""
    parts = [FilePart(parcel.upload, parcel.name) for parcel in lot]
    boundary = secrets.token_hex(16)
    return lambda: form(parts, boundary, metadata, field=field_name, began=began)
