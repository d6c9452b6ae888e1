"""Large files on their way here: which pieces of them are on the disk, for a later run.

Its rule: a row says what is on the disk. It comes after the bytes were made durable, and
each piece has a tag, so that what is found there can be told from what was written. A piece that
a run was stopped in has a row for its beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fwsync.digest import LocalTag
from fwsync.model import RelPath
from fwsync.state_file import StateFile


@dataclass(frozen=True, slots=True)
class Held:
    """What is on the disk of one piece."""

    size: int  #: bytes from its start on
    tag: LocalTag  #: of them


@dataclass(slots=True)
class OpenDownload:
    """A download that was begun, and that has not ended."""

    path: RelPath
    validator: str  #: what tells this content from another one; compared, never read
    piece_size: int  #: bytes of each piece but the last
    mark: str  #: what the server called the content as it was sent (ETag); empty: nothing
    pieces: dict[int, Held]  #: those that are on the disk, or begin there; from 0


class Downloads:
    """The downloads of a state; belongs to the state's thread, as the state does."""

    def __init__(self, db: StateFile, now_ns: Callable[[], int]) -> None:
        self._db = db
        self._now_ns = now_ns

    def begin(self, path: RelPath, validator: str, piece_size: int) -> None:
        """Keep a download of which nothing is there yet, in the place of an earlier one."""
        with self._db.change() as db:
            db.execute("DELETE FROM download WHERE path = ?", (path,))
            row = (path, validator, piece_size, self._now_ns())
            db.execute("INSERT INTO download VALUES (?, ?, ?, '', ?)", row)

    def go_on(self, path: RelPath, validator: str) -> OpenDownload | None:
        """What there is of this content; None: nothing. It counts as used from now on."""
        sql = """UPDATE download SET used_ns = ? WHERE path = ? AND validator = ?
            RETURNING piece_size, mark"""
        rows = self._db.ask(sql, (self._now_ns(), path, validator))
        if not rows:
            return None
        pieces = self._db.ask(
            "SELECT number, size, tag FROM download_piece WHERE path = ?", (path,)
        )
        size, mark = rows[0]
        held = {number: Held(here, tag) for number, here, tag in pieces}
        return OpenDownload(path, validator, size, mark, held)

    def confirm(self, path: RelPath, pieces: Mapping[int, Held], mark: str) -> None:
        """Keep that these are on the disk, and what the server calls the content."""
        with self._db.change() as db:
            db.execute(
                "UPDATE download SET mark = ? WHERE path = ? AND mark <> ?", (mark, path, mark)
            )
            db.executemany(
                "INSERT OR REPLACE INTO download_piece VALUES (?, ?, ?, ?)",
                [(path, number, held.size, held.tag) for number, held in pieces.items()],
            )

    def end(self, path: RelPath) -> None:
        """Forget it; harmless a second time."""
        self._db.ask("DELETE FROM download WHERE path = ?", (path,))

    def forget_unused(self, *, since_ns: int) -> None:
        """Forget those that no run has gone on with since then."""
        self._db.ask("DELETE FROM download WHERE used_ns < ?", (since_ns,))

    def all(self) -> dict[RelPath, str]:
        """The path and the validator of each."""
        return dict(self._db.ask("SELECT path, validator FROM download"))
