"""Two sides and a base as dictionaries, and what each verb does to them.

The smallest world in which a decision can be carried out: content is a short text, its
size is its length, and its tags are made from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from hypothesis import strategies as st

from fwsync.digest import Digest, LocalTag
from fwsync.model import (
    BaseEntry,
    ContainerRef,
    Decision,
    Level,
    LocalEntry,
    Mode,
    RelPath,
    RemoteEntry,
    Stamp,
    Unknown,
    Verb,
)
from fwsync.reconcile import Rules, held_side, reconcile

Tree = dict[str, str]

ALL_DELETIONS = Rules(delete_up=True, delete_down=True)
EVERY_RULES = [
    Rules(mode=mode, delete_up=delete, delete_down=delete)
    for mode in Mode
    for delete in (False, True)
]


def local_entry(path: str, content: str, *, read: bool = True) -> LocalEntry:
    stamp = Stamp(len(content), mtime_ns=1, ctime_ns=1, device=1, inode=1)
    if not read:
        return LocalEntry(RelPath(path), stamp)
    return LocalEntry(
        RelPath(path), stamp, LocalTag(f"xxh3:{content}"), Digest(f"sha384:{content}")
    )


def remote_entry(path: str, content: str, *, version: int = 1, hashed: bool = True) -> RemoteEntry:
    return RemoteEntry(
        RelPath(path),
        len(content),
        f"etag-{content}-{version}",
        Digest(f"sha384:{content}") if hashed else None,
        ContainerRef(Level.PROJECT, "p"),
        path,
        version=version,
    )


def base_entry(path: str, content: str, *, held: str = "", hashed: bool = True) -> BaseEntry:
    return BaseEntry(
        RelPath(path),
        len(content),
        LocalTag(f"xxh3:{content}"),
        f"etag-{content}-1",
        Digest(f"sha384:{content}") if hashed else None,
        held,
    )


@dataclass
class World:
    """Both sides, the base, and whatever was put aside."""

    local: Tree
    remote: Tree
    base: Tree
    held: dict[str, str] = field(default_factory=dict)
    aside: list[str] = field(default_factory=list)  #: trash, versions and conflict copies

    def entries(self) -> tuple[list[LocalEntry], list[RemoteEntry], list[BaseEntry]]:
        return (
            [local_entry(path, content) for path, content in sorted(self.local.items())],
            [remote_entry(path, content) for path, content in sorted(self.remote.items())],
            [
                base_entry(path, content, held=self.held.get(path, ""))
                for path, content in sorted(self.base.items())
            ],
        )

    def decide(
        self,
        rules: Rules,
        *,
        unknown_local: Iterable[str] = (),
        unknown_remote: Iterable[str] = (),
    ) -> list[Decision]:
        return list(
            reconcile(
                *self.entries(),
                rules=rules,
                unknown_local=[Unknown(RelPath(scope), "") for scope in unknown_local],
                unknown_remote=[Unknown(RelPath(scope), "") for scope in unknown_remote],
            )
        )

    def run(self, rules: Rules) -> list[Decision]:
        """One cycle."""
        decisions = self.decide(rules)
        for decision in decisions:
            self.apply(decision, rules)
        return decisions

    def apply(self, decision: Decision, rules: Rules) -> None:
        path = decision.path
        match decision.verb:
            case Verb.UPLOAD:
                self._put(self.remote, path, self.local[path])
            case Verb.DOWNLOAD:
                self._put(self.local, path, self.remote[path])
            case Verb.CONFLICT if rules.mode is not Mode.UP:
                self._put(self.local, path, self.remote[path])
            case Verb.ADOPT:
                self._agree(path, self.local[path])
            case Verb.DELETE_LOCAL:
                self.aside.append(self.local.pop(path))
                self._disagree(path)
            case Verb.DELETE_REMOTE:
                self.aside.append(self.remote.pop(path))
                self._disagree(path)
            case Verb.FORGET:
                self._disagree(path)
            case Verb.HOLD:
                self.held[path] = held_side(decision)
            case _:
                pass

    def contents(self) -> set[str]:
        return {*self.local.values(), *self.remote.values(), *self.aside}

    def _put(self, side: Tree, path: str, content: str) -> None:
        if path in side:
            self.aside.append(side[path])
        side[path] = content
        self._agree(path, content)

    def _agree(self, path: str, content: str) -> None:
        assert self.local[path] == self.remote[path] == content
        self.base[path] = content
        self.held.pop(path, None)

    def _disagree(self, path: str) -> None:
        del self.base[path]
        self.held.pop(path, None)


#: Verbs that change a side or the base: none of them may come twice.
ACTS = set(Verb) - {Verb.NOTHING, Verb.REPORT, Verb.CONFLICT}

_contents = st.sampled_from(["1", "2", "33", "444", ""])


def trees(*paths: str) -> st.SearchStrategy[Tree]:
    """Trees over a few paths, so that the same path is met on all three sides."""
    return st.dictionaries(st.sampled_from(paths), _contents)


#: No path of these is the folder of another; one sorts between a folder and its files.
flat_trees = trees("a", "b", "b c", "d/e", "d/f", "d.x")

_helds = st.sampled_from(["", "local", "remote"])


@st.composite
def worlds(draw: st.DrawFn, tree: st.SearchStrategy[Tree] = flat_trees) -> World:
    base = draw(tree)
    # A row names a held deletion only where the file is gone, or was when it was written.
    held = {path: side for path in base if (side := draw(_helds))}
    return World(draw(tree), draw(tree), base, held)


def without_clashes(tree: Tree) -> Tree:
    """A tree as a file system could have it: no file is also a folder."""
    return {path: content for path, content in tree.items() if not is_below_any(path, tree)}


def is_below_any(path: str, tree: Iterable[str]) -> bool:
    return any(above in tree for above in _above(path))


def _above(path: str) -> Iterator[str]:
    parts = path.split("/")
    for count in range(1, len(parts)):
        yield "/".join(parts[:count])


clashing_trees = trees("a", "a b", "a.c", "a/b", "a/b/c", "a/b!", "a/d").map(without_clashes)
