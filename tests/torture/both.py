"""A world in which everything has happened that can happen on two sides, and what must come of it.

Every text that was ever written has a token of its own. After whatever went wrong and one run
without it, each token is on one of the sides, among the server's versions or in the trash; no file
and no container is there twice; nothing of ours lies about; and one more run moves nothing.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fwsync import runs
from fwsync.config import Arguments
from fwsync.errors import FwsyncError
from fwsync.model import Mode, Report
from tests.house.house import Ground, Stored, Tree, check_state, grown, plant
from tests.house.site import Site

#: Settings of every run here; a pack goes up, and another one has a file that was edited.
SYNC: Mapping[str, object] = {
    "delete_up": True,
    "delete_down": True,
    "patience_s": 20,
    "pack": {"*.dcm": "archive"},
}
#: The same on a command line.
FLAGS = ("--delete", "--pack", "*.dcm=archive", "--json")

COPY = re.compile(r"\.fwsync-conflict-[^.]*")


def token(what: str, size: int = 400) -> bytes:
    """A text that is nowhere else."""
    return (f"<{what}>".encode() * (size // len(what) + 1))[:size]


@dataclass
class Both:
    """A root and a project that were in step, and are not any more.

    Args:
        ground: the server.
        label: a project of this world's own; made here.
        root: a folder of its own; made here.
        key: a file with an API key.
        settings: of every run, besides :data:`SYNC`.
    """

    ground: Ground
    label: str
    root: Path
    key: Path
    settings: Mapping[str, object] = field(default_factory=dict)
    written: set[bytes] = field(default_factory=set)  #: every text that anybody wrote
    large: int = 0  #: bytes of one more file that is new here, and of one that is new there

    def __post_init__(self) -> None:
        self.ground.project(self.label)
        self.root.mkdir(parents=True, exist_ok=True)

    # ------------------------------------------------------------------------ what happens

    def sync(self, **settings: object) -> Report | FwsyncError:
        """A whole run, in this process."""
        told = {**SYNC, "api_key_file": self.key, **self.settings, **settings}
        try:
            return runs.run(Mode.BOTH, self.root, f"lab/{self.label}", Arguments(told))
        except FwsyncError as error:
            return error

    def must(self, why: str = "", **settings: object) -> Report:
        """A run that has no problem; conflicts are none."""
        report = self.sync(**settings)
        assert isinstance(report, Report), f"{why}: {report!r}"
        assert [] == report.problem_list, f"{why}: {report.problem_list}"
        assert "" == report.halted, f"{why}: {report.halted}"
        return report

    def here(self, tree: Tree) -> None:
        self.written.update(tree.values())
        plant(self.root, tree)

    def agree(self) -> Site:
        """Both sides are in step."""
        self.here(agreed())
        self.must("the first run")
        return Site(self.ground, self.label)

    def part(self, site: Site) -> None:
        """Everything happens, on both sides."""
        self._part_there(site)
        root = self.root
        (root / "s1/e/gone/here.dat").unlink()
        (root / "s3/e/mine").rename(root / "s3/e/moved-here")
        same = root / "s1/e/same"
        (same / "5.dat").rename(same / "renamed.dat")
        for old, new in (("3", "aside"), ("4", "3"), ("aside", "4")):  # these change places
            (same / f"{old}.dat").rename(same / f"{new}.dat")
        self.here(
            {
                "s1/e/up/edit.dat": token("edited here"),
                "s1/e/both/x.dat": token("x here"),
                "s1/e/new/up.dat": token("new here"),
                "s5/e/first/up.dat": token("a subject that is new here"),
                "s1/e/adopt/a.dat": token("the same on both sides"),
                "s4/e/old/2.dcm": token("a slice edited here"),
                **{f"s4/e/new/{n}.dcm": token(f"a new slice {n}") for n in range(3)},
                **({"s5/e/first/large.dat": token("large here", self.large)} if self.large else {}),
            }
        )

    def _part_there(self, site: Site) -> None:
        found = acquisitions(self.ground, self.label)
        session = sessions(self.ground, self.label)["s1/e"]
        new = site.make("acquisition", "down-new", session=session)
        adopt = site.make("acquisition", "adopt", session=session)
        other = site.session(site.subject("s6"), "e")
        there = site.make("acquisition", "there", session=other)
        for where, name, content in (
            (found["s1/e/down"], "edit.dat", token("edited there")),
            (found["s1/e/both"], "x.dat", token("x there")),
            (new, "down.dat", token("new there")),
            (adopt, "a.dat", token("the same on both sides")),
            (there, "1.dat", token("a subject that is new there")),
            *([(there, "large.dat", token("large there", self.large))] if self.large else []),
        ):
            site.put("acquisition", where, name, content)
            self.written.add(content)
        site.drop(["s1/e/gone/there.dat"])
        self.ground.ask("PUT", f"/acquisitions/{found['s2/e/theirs']}", {"label": "moved-there"})

    # ----------------------------------------------------------------------- what must be

    def settled(self) -> dict[str, bytes]:
        """The tree that both sides have in the end; the copy of the conflict is here alone."""
        tree = agreed()
        for path in ("s1/e/gone/here.dat", "s1/e/gone/there.dat"):
            del tree[path]
        for old, new in (("s2/e/theirs/", "s2/e/moved-there/"), ("s3/e/mine/", "s3/e/moved-here/")):
            tree = {
                new + path.removeprefix(old) if path.startswith(old) else path: content
                for path, content in tree.items()
            }
        tree |= {
            "s1/e/same/3.dat": tree["s1/e/same/4.dat"],
            "s1/e/same/4.dat": tree["s1/e/same/3.dat"],
            "s1/e/same/renamed.dat": tree.pop("s1/e/same/5.dat"),
            "s1/e/up/edit.dat": token("edited here"),
            "s1/e/down/edit.dat": token("edited there"),
            "s1/e/both/x.dat": token("x there"),
            "s1/e/both/x.dat of ours": token("x here"),
            "s1/e/new/up.dat": token("new here"),
            "s5/e/first/up.dat": token("a subject that is new here"),
            "s1/e/down-new/down.dat": token("new there"),
            "s6/e/there/1.dat": token("a subject that is new there"),
            "s1/e/adopt/a.dat": token("the same on both sides"),
            "s4/e/old/2.dcm": token("a slice edited here"),
            **{f"s4/e/new/{n}.dcm": token(f"a new slice {n}") for n in range(3)},
        }
        if self.large:
            tree["s5/e/first/large.dat"] = token("large here", self.large)
            tree["s6/e/there/large.dat"] = token("large there", self.large)
        return tree

    def check_nothing_lost(self, why: str) -> None:
        """At any moment: each text is somewhere, and nothing else is on the server."""
        versions = self.versions()
        there = {one.sha384.rpartition("-")[2] for one in versions}
        safe = set(grown(self.root).values()) | in_trash(self.root)
        packed = {content for path, content in agreed().items() if path.endswith(".dcm")}
        lost = [
            content[:60]
            for content in self.written - safe - packed
            if hashlib.sha384(content).hexdigest() not in there
        ]
        assert [] == lost, f"{why}: lost"
        known = {hashlib.sha384(content).hexdigest() for content in self.written}
        strange = [
            one.path
            for one in versions
            if not one.path.endswith(".zip") and one.sha384.rpartition("-")[2] not in known
        ]
        assert [] == strange, f"{why}: on the server, and written by nobody"
        strangers = {
            path: content[:60]
            for path, content in grown(self.root).items()
            if content not in self.written
        }
        assert {} == strangers, f"{why}: here, and written by nobody"

    def versions(self) -> list[Stored]:
        return self.ground.stored(self.label)

    def check_settled(self, why: str) -> None:
        """What the end must be, whatever happened on the way."""
        self.check_nothing_lost(why)
        copies = [path for path in grown(self.root) if COPY.search(path)]
        here = {
            COPY.sub("", path) + " of ours" if COPY.search(path) else path: content
            for path, content in grown(self.root).items()
        }
        want = self.settled()
        assert want == here, f"{why}: {_difference(want, here)}"
        assert len(copies) == 1, f"{why}: {copies}"
        self._check_server(want, why)
        parts = self.root / ".fwsync/parts"
        left = [str(one) for one in parts.rglob("*") if one.is_file()]
        assert [] == left, f"{why}: left over"
        check_state(self.root)

    def _check_server(self, want: Tree, why: str) -> None:
        versions = self.versions()
        alive = {one.path: one for one in versions if not one.deleted}
        newest = {}
        for one in sorted(versions, key=lambda one: one.version):
            if not one.deleted:
                newest[one.path] = one.sha384.rpartition("-")[2]
        plain = {path for path in want if not path.endswith((".dcm", " of ours"))}
        packs = {"s4/e/old/old.zip", "s4/e/new/new.zip"}
        assert sorted(plain | packs) == sorted(alive), (
            f"{why}: missing {plain - set(alive)}, too many {set(alive) - plain}"
        )
        wrong = [path for path in plain if newest[path] != hashlib.sha384(want[path]).hexdigest()]
        assert [] == wrong, f"{why}: other bytes there"
        twice = [
            one
            for one, count in Counter((one.path, one.sha384) for one in versions).items()
            if count > 1
        ]
        assert [] == twice, f"{why}: versions that are there twice"
        assert [] == self.ground.twins(), f"{why}: containers that are there twice"
        for path in packs:
            folder = path.rpartition("/")[0]
            members = {p: c for p, c in want.items() if p.startswith(f"{folder}/")}
            with zipfile.ZipFile(io.BytesIO(self._content(path))) as archive:
                held = {f"{folder}/{name}": archive.read(name) for name in archive.namelist()}
            held = {p.replace("/old/old/", "/old/").replace("/new/new/", "/new/"): c
                    for p, c in held.items()}  # fmt: skip
            assert members == held, f"{why}: {path}"

    def _content(self, path: str) -> bytes:
        above, _, name = path.rpartition("/")
        id_ = acquisitions(self.ground, self.label)[above]
        return self.ground.content("GET", f"/acquisitions/{id_}/files/{name}")

    def check_closed(self, why: str) -> None:
        """A run without a fault, or two, settles it; one more moves nothing.

        The second is for what a run must leave to the next, as a deletion that waits.
        """
        for _ in range(2):
            self.must(why)
            self.check_nothing_lost(why)
        self.check_settled(why)
        self.check_still(why)

    def check_still(self, why: str) -> None:
        """One more run moves nothing."""
        before, versions = grown(self.root), self.versions()
        again = self.must(why)
        moved = {
            name: getattr(again, name)
            for name in ("uploaded", "downloaded", "deleted", "renamed", "adopted", "bytes")
            if getattr(again, name)
        }
        assert {} == moved, f"{why}: one more run"
        assert (before, versions) == (grown(self.root), self.versions()), why


def agreed() -> dict[str, bytes]:
    """What both sides have before anything happens."""
    paths = [
        "notes.txt",
        *(f"s1/e/same/{n}.dat" for n in range(6)),
        "s1/e/up/edit.dat",
        "s1/e/down/edit.dat",
        "s1/e/both/x.dat",
        "s1/e/gone/here.dat",
        "s1/e/gone/there.dat",
        "s1/e/gone/stays.dat",
        *(f"s2/e/theirs/{n}.dat" for n in range(3)),
        *(f"s3/e/mine/{n}.dat" for n in range(3)),
        *(f"s4/e/old/{n}.dcm" for n in range(3)),
    ]
    return {path: token(f"agreed {path}") for path in paths}


def in_trash(root: Path) -> set[bytes]:
    trash = root / ".fwsync/trash"
    return {one.read_bytes() for one in trash.rglob("*") if one.is_file()}


def acquisitions(ground: Ground, label: str) -> dict[str, str]:
    """The acquisitions of a project that are there: path -> id."""
    return _containers(ground, label, "acquisition")


def sessions(ground: Ground, label: str) -> dict[str, str]:
    """Likewise."""
    return _containers(ground, label, "session")


def _containers(ground: Ground, label: str, kind: str) -> dict[str, str]:
    record = ground.ask("GET", "/sandbox/record")["containers"]
    by_id = {one["id"]: one for one in record}
    found = {}
    for one in record:
        if one["kind"] != kind or one["deleted"] is not None:
            continue
        labels, at = [], one
        while at["kind"] != "project":
            labels.append(at["label"])
            at = by_id[at["parent_id"]]
        if at["label"] == label:
            found["/".join(reversed(labels))] = str(one["id"])
    return found


def _difference(want: Mapping[str, object], got: Mapping[str, object]) -> str:
    others = [path for path in set(want) & set(got) if want[path] != got[path]]
    return f"missing {set(want) - set(got)}, too many {set(got) - set(want)}, other {others}"


@contextmanager
def own_home(home: Path) -> Iterator[None]:
    """A home of its own, and no setting of ours in the environment."""
    kept = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("FWSYNC_", "XDG_"))]:
        del os.environ[name]
    os.environ["HOME"] = str(home)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)
