"""The project, the hosts that sync it, what people have written, and who asks what was lost.

Every content that a person writes is a token. One that nobody has deleted or overwritten by hand
must be somewhere ever after: that is asked after each run (:meth:`World.lost`).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from fwsync.errors import FwsyncError
from fwsync.model import RelPath, Report
from tests.properties.cloud import Box, Cloud
from tests.properties.hosts import Host

#: Where a file system in memory is, if there is one: nothing here is to last.
_FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None

#: What people write has times of long ago, one a second: no hash is too young to be trusted.
_LONG_AGO_NS = 1_500_000_000 * 10**9


class Lost(AssertionError):
    """Bytes that must be somewhere are not there."""


class World:
    """Hosts, the server, and what people have written."""

    def __init__(self, *, hosts: int = 1, versions: bool = True, digests: bool = True) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="fwsync-", dir=_FAST)
        self.folder = Path(self._temporary.name)
        self.cloud = Cloud(versions=versions, digests=digests)
        self.hosts = [Host(self, name) for name in ("desk", "scanner", "ward")[:hosts]]
        self.hidden: str | None = None  #: a folder, or a file, that a listing cannot see
        self.written: set[bytes] = set()
        self.spent: set[bytes] = set()  #: tokens that somebody deleted or overwrote by hand
        self.missing_here: dict[Host, set[bytes]] = {}  #: what must be on a host after its run
        self.running: list[Host] = []  #: hosts whose runs are under way
        self._now_ns = _LONG_AGO_NS
        self._tokens = 0

    def close(self) -> None:
        self._temporary.cleanup()

    def tick(self) -> int:
        """A time that nothing had before, in nanoseconds."""
        self._now_ns += 10**9
        return self._now_ns

    def token(self, size: int = 0) -> bytes:
        """A content that nothing had before."""
        self._tokens += 1
        return f"<{self._tokens}>".encode().ljust(size, b".")

    def write(self, content: bytes, host: Host | None = None) -> None:
        self.written.add(content)
        if host is not None:
            self.missing_here.setdefault(host, set()).add(content)

    def spend(self, content: bytes, host: Host | None = None) -> None:
        self.spent.add(content)
        if host is not None:
            self.missing_here.setdefault(host, set()).discard(content)

    # -- what people do on the server

    def put(self, path: str, content: bytes) -> bool:
        """Somebody sends a file, over whatever is there."""
        before = {*self.cloud.kept()}
        try:
            self.cloud.put(path, content)
        except FwsyncError:
            return False
        for replaced in before.difference(self.cloud.kept()):
            self.spend(replaced)
        self.write(content)
        return True

    def put_over(self, path: str, content: bytes) -> bool:
        """The same where a file or a container is in its way: that goes."""
        for at in {RelPath(path), *_above(path)} & self.cloud.files().keys():
            self.delete(at)
        box = self.cloud.box_at(path)
        if box is not None:
            self.delete_box(box)
        return self.put(path, content)

    def put_in(self, box: Box, name: str, content: bytes) -> None:
        """The same by the name that a file has there, whatever it is."""
        spent = self.cloud.put_in(box, name, content)
        if spent is not None:
            self.spend(spent)
        self.write(content)

    def delete(self, path: str) -> None:
        for content in self.cloud.delete(path).versions:
            self.spend(content)

    def delete_box(self, box: Box) -> None:
        for _, file in box.everything():
            for content in file.versions:
                self.spend(content)
        self.cloud.delete_box(box)

    # -- what must hold

    def seen(self) -> object:
        """All that a run that only looks must leave as it is."""
        trees = [(host.tree(), host.trash()) for host in self.hosts]
        return trees, self.cloud.tree(), self.cloud.kept(), self.cloud.made

    def lost(self) -> set[bytes]:
        """Tokens that are nowhere, and that nobody has spent."""
        found = {*self.cloud.kept()}
        for host in self.hosts:
            found |= {*host.tree().values(), *host.trash()}
        return self.written - self.spent - self.cloud.older - found

    def taken_away(self, host: Host) -> set[bytes]:
        """What a run has taken from a host without putting it in the trash."""
        return self.missing_here.get(host, set()) - {*host.tree().values(), *host.trash()}

    def check(self) -> None:
        """After each run."""
        if lost := self.lost():
            raise Lost(f"nowhere: {sorted(lost)}")
        for host in self.hosts:
            if taken := self.taken_away(host):
                raise Lost(f"neither on {host.name} nor in its trash: {sorted(taken)}")
        assert [] == self.cloud.doubled

    def settle(self, host: Host, most: int = 3) -> list[Report]:
        """Run until nothing is left to do, with the consent that is asked for.

        Returns:
            What was done.
        """
        reports: list[Report] = []
        accept: str | None = None
        consents = 0
        while todo := host.todo():
            if reports and {one.path for one in todo} <= _for_people(reports[-1]):
                break
            told = [f"{one.verb} {one.path}: {one.reason}" for one in todo]
            assert len(reports) < most + consents, ("does not end", told, reports[-1])
            ran = host.run(accept=accept)
            self.check()
            assert ran.report is not None, ran.error
            reports.append(ran.report)
            accept = ran.report.plan_id or None
            consents += accept is not None
        return reports

    def settle_all(self, most: int = 4) -> None:
        """All hosts run, one after the other, until none has anything to do."""
        idle = 0
        for turn in range(most * len(self.hosts)):
            did = self.settle(self.hosts[turn % len(self.hosts)])
            idle = 0 if any(map(_did_anything, did)) else idle + 1
            if idle >= len(self.hosts):
                return
        told = [[f"{one.verb} {one.path}: {one.reason}" for one in h.todo()] for h in self.hosts]
        raise AssertionError(("the hosts never agree", told))


def _for_people(report: Report) -> set[str]:
    """What is tried each time, and goes through when somebody has done something about it."""
    return {one.path for one in report.problem_list if not one.retryable}


def _did_anything(report: Report) -> bool:
    counts = report.uploaded, report.downloaded, report.deleted, report.renamed, report.adopted
    return any((*counts, report.held, report.conflicts)) or not report.problem_list


def _above(path: str) -> list[RelPath]:
    parts = path.split("/")
    return [RelPath("/".join(parts[:count])) for count in range(1, len(parts))]
