"""What a server keeps no versions of is fetched to the trash here, before it is replaced there.

Its rule: nothing is replaced or deleted on such a server whose bytes are not safe here first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from fwsync import localfs
from fwsync.arrivals import Landing
from fwsync.downloader import Downloader
from fwsync.errors import FileProblem
from fwsync.landing import Target
from fwsync.model import Decision, Outcome, Problem, RelPath, RemoteEntry, Verb
from fwsync.ports import RemoteReader
from fwsync.threads import in_thread

#: Names that are tried for a file in the trash.
_MOST_NAMES = 1000

#: Sends a batch.
Send = Callable[[Sequence[Decision]], Awaitable[list[Outcome]]]

_WHY = "its bytes there could not be fetched to the trash first, and the server would not keep them"


class Safekeeping:
    """Keeps what is about to go from a server for good.

    Args:
        reader: where it is.
        root_fd: the root.
        parts: the folder for parts below it.
        trash: gives the folder of this run below it.
        fsync: what is kept is on the disk before the server is asked to do anything.
    """

    def __init__(
        self,
        reader: RemoteReader,
        root_fd: int,
        *,
        parts: str,
        trash: str,
        fsync: bool = True,
    ) -> None:
        self._trash = trash
        self._root_fd = root_fd
        self._is_needed = not reader.features.versions
        self._places: dict[RelPath, str] = {}
        landing = Landing(root_fd, parts=parts, trash=trash, where=self._where, fsync=fsync)
        self._downloader = Downloader(reader, landing, lambda _path, _count: None)
        self.kept = 0  #: files

    def before(self, send: Send) -> Send:
        """The same carrier; what a file of a batch would replace is kept before it is sent."""
        return self._send_after(send) if self._is_needed else send

    def _send_after(self, send: Send) -> Send:
        async def kept_and_sent(batch: Sequence[Decision]) -> list[Outcome]:
            replacing = [one for one in batch if one.remote is not None]
            problems = await self._keep([one.remote for one in replacing if one.remote])
            failed = [
                Outcome(one, problem=problems[one.path]) for one in batch if one.path in problems
            ]
            left = [one for one in batch if one.path not in problems]
            return failed + (await send(left) if left else [])

        return kept_and_sent

    async def keep(self, entry: RemoteEntry, *, always: bool = False) -> None:
        """Keep one file, where that is needed; it is durable when this returns.

        Args:
            entry: as it is there now.
            always: on a server that keeps versions, too: a file that is deleted is none.

        Raises:
            FileProblem: it could not be fetched, and is not to be deleted.
            AuthError, LocalError, Unavailable: the run cannot go on.
        """
        if not (self._is_needed or always):
            return
        for problem in (await self._keep([entry])).values():
            raise FileProblem(f"{entry.path}: {problem.message}", hint=problem.hint)

    async def _keep(self, entries: Sequence[RemoteEntry]) -> dict[RelPath, Problem]:
        """What could not be kept, and why."""
        if not entries:
            return {}
        fetches: list[Decision] = []
        problems: dict[RelPath, Problem] = {}
        for entry in entries:
            try:
                self._places[entry.path] = await in_thread(self._free_place, entry.path)
            except FileProblem as error:
                problems[entry.path] = Problem.of(entry.path, error)
            else:
                fetches.append(Decision(Verb.DOWNLOAD, entry.path, None, entry))
        for outcome in await self._downloader.bring(fetches):
            path = outcome.decision.path
            if outcome.problem is None:
                self.kept += 1
            else:
                why = f"{_WHY} ({outcome.problem.message})"
                problems[path] = replace(outcome.problem, message=why)
        return problems

    def _free_place(self, path: RelPath) -> str:
        """In the trash; where this run has put something there already, beside it."""
        for number in range(1, _MOST_NAMES):
            place = f"{self._trash}/{path}" + (f"~{number}" if number > 1 else "")
            if localfs.is_free(self._root_fd, place):
                return place
        # Not that many files: it cannot be said of any name whether it is free.
        raise FileProblem(f"{path}: no name is to be had for it in the trash")

    def _where(self, decision: Decision) -> Target:
        return Target(self._places[decision.path])
