"""The two sides of a golden scenario: what their users do, and what is there afterwards."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.golden.language import Line, Steps, Unreadable, content, spell, steps, word
from tests.house.house import Ground
from tests.house.site import Site

#: A tree as text: paths and the words for what is there.
Shown = list[str]

DAY_NS = 86_400 * 10**9

#: What a name gets in the trash where two runs of one second put it there.
_NUMBERED = re.compile(r"-\d+(?=(?:\.[^/ ]*)? )")

#: How the second of two namesakes is told apart here.
_BY_ID = re.compile(r"%id=[0-9a-f]{24}")

_COPY = re.compile(r"\.fwsync-conflict-(\d{8}T\d{6}Z)-(.+?)(?:-(\d+))?(?=\.[^/]*$|$)")


@dataclass(slots=True)
class Words:
    """Every content that a user of either side has written."""

    written: set[str] = field(default_factory=set)

    def bytes_of(self, text: str) -> bytes:
        data = content(text)
        self.written.add(word(data))
        return data


def carry_out(side: Local | Server, lines: Sequence[Line]) -> None:
    """Do what the lines of a block say."""
    for line in lines:
        verb, *args = line.words
        act = side.verbs.get(verb)
        if act is None:
            raise Unreadable(f"{line.number}: {type(side).__name__} has no verb {verb!r}")
        act(*(one for one in args if one != "->"))


# --------------------------------------------------------------------------------------- local


class Local:
    """A folder, and somebody who works in it."""

    def __init__(self, root: Path, words: Words) -> None:
        self.root = root
        self._words = words
        self.is_mounted = False
        self.verbs: dict[str, Callable[..., None]] = {
            "write": self.write, "append": self.append, "save": self.save,
            "truncate": self.truncate, "touch": self.touch, "time": self.time,
            "delete": self.delete, "rename": self.rename, "copy": self.copy,
            "mkdir": self.mkdir, "symlink": self.symlink, "hardlink": self.hardlink,
            "chmod": self.chmod, "forget-state": self.forget_state,
            "empty-root": self.empty_root, "remove-root": self.remove_root,
            "replace-root": self.replace_root, "swap": self.swap,
            "mount": self.mount, "unmount": self.unmount, "fifo": self.fifo,
        }  # fmt: skip

    def at(self, path: str) -> Path:
        """Where a path is on the disk; a copy is named by its order among those of its file."""
        there = self.root
        for step in steps(path):
            there /= _by_id(there, step) if "%id" in step else step
        if ".copy" not in path or os.path.lexists(there):
            return there
        for real, shown in _copies(there.parent):
            if shown == there.name:
                return there.parent / real
        return there

    # ------------------------------------------------------------------------- what is done

    def write(self, path: str, text: str) -> None:
        file = self.at(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(self._words.bytes_of(text))

    def append(self, path: str, text: str) -> None:
        file = self.at(path)
        file.write_bytes(self._words.bytes_of(word(file.read_bytes()) + text))

    def save(self, path: str, text: str) -> None:
        """As editors do it: written aside, and renamed over."""
        file = self.at(path)
        aside = file.with_name(f".{file.name}.swp")
        aside.write_bytes(self._words.bytes_of(text))
        aside.replace(file)

    def truncate(self, path: str, how: str = "") -> None:
        file = self.at(path)
        seen = file.stat()
        os.truncate(file, 0)
        if how == "keep-time":
            os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))

    def touch(self, path: str, by: str) -> None:
        files = [*self._files()] if path == "all" else [self.at(path)]
        for file in files:
            at = file.stat().st_mtime_ns + int(by) * 10**9
            os.utime(file, ns=(at, at))

    def time(self, path: str, seconds: str) -> None:
        at = int(seconds) * 10**9
        os.utime(self.at(path), ns=(at, at))

    def delete(self, path: str) -> None:
        file = self.at(path)
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        else:
            file.unlink()

    def rename(self, old: str, new: str) -> None:
        target = self.at(new)
        target.parent.mkdir(parents=True, exist_ok=True)
        self.at(old).replace(target)

    def swap(self, one: str, other: str) -> None:
        aside = self.root / "swapped aside"
        self.at(one).rename(aside)
        self.at(other).rename(self.at(one))
        aside.rename(self.at(other))

    def copy(self, old: str, new: str) -> None:
        target = self.at(new)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.at(old), target)

    def mkdir(self, path: str) -> None:
        self.at(path).mkdir(parents=True)

    def symlink(self, path: str, target: str) -> None:
        link = self.at(path)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(spell_out(target))

    def hardlink(self, old: str, new: str) -> None:
        os.link(self.at(old), self.at(new))

    def chmod(self, path: str, mode: str) -> None:
        self.at(path).chmod(int(mode, 8))

    def forget_state(self) -> None:
        for file in (self.root / ".fwsync").glob("state.db*"):
            file.unlink()

    def empty_root(self, how: str = "") -> None:
        for item in self.root.iterdir():
            if item.name != ".fwsync" or how == "wholly":
                shutil.rmtree(item) if item.is_dir() else item.unlink()

    def remove_root(self) -> None:
        self.root.rename(self.root.with_name("away"))

    def replace_root(self, by: str) -> None:
        self.remove_root()
        if by == "file":
            self.root.write_bytes(b"")
        elif by == "symlink":
            (self.root.parent / "elsewhere").mkdir()
            self.root.symlink_to(self.root.parent / "elsewhere")
        else:
            self.root.mkdir()

    def mount(self) -> None:
        """Give the root the disk that it lies on; another folder, as far as the kernel goes."""
        disk = self.root.with_name("disk")
        disk.mkdir(exist_ok=True)
        subprocess.run(["mount", "--bind", disk, self.root], check=True, capture_output=True)
        self.is_mounted = True

    def unmount(self) -> None:
        subprocess.run(["umount", self.root], check=True)
        self.is_mounted = False

    def fifo(self, path: str) -> None:
        os.mkfifo(self.at(path))

    def grow_old(self) -> None:
        """As if all had been written long ago: no hash is too young to be trusted."""
        for file in self._files():
            at = file.stat().st_mtime_ns - DAY_NS
            os.utime(file, ns=(at, at))

    # ------------------------------------------------------------------------- what is there

    def _files(self) -> Iterator[Path]:
        for folder, folders, names in os.walk(self.root):
            if ".fwsync" in folders:
                folders.remove(".fwsync")
            yield from (Path(folder, name) for name in names if not Path(folder, name).is_symlink())

    def shown(self) -> Shown:
        """Every file and link, and every folder with nothing in it."""
        if not self.root.is_dir() or self.root.is_symlink():
            return []
        return sorted(self._shown_below(self.root, (), own=True))

    def _shown_below(self, folder: Path, above: Steps, *, own: bool = False) -> Iterator[str]:
        named = dict(_copies(folder))
        for item in sorted(folder.iterdir()):
            if own and item.name == ".fwsync":
                continue
            path = (*above, _BY_ID.sub("%id", named.get(item.name, item.name)))
            if item.is_symlink():
                yield f"{spell(path)} -> {item.readlink()}"
            elif item.is_dir():
                is_open = item.stat().st_mode & stat.S_IRUSR
                found = [*self._shown_below(item, path)] if is_open else []
                yield from found or [f"{spell(path)}/"]
            else:
                yield f"{spell(path)} {word(item.read_bytes())}"

    def times(self) -> dict[str, float]:
        """When files were modified, in seconds, by their paths."""
        return {
            spell(tuple(file.relative_to(self.root).parts)): file.stat().st_mtime
            for file in self._files()
        }

    def in_trash(self) -> Shown:
        trash = self.root / ".fwsync" / "trash"
        if not trash.is_dir():
            return []
        found = (line for run in trash.iterdir() for line in self._shown_below(run, ()))
        return sorted(_NUMBERED.sub("", line, count=1) for line in found)

    def on_the_way(self) -> list[str]:
        """What a run that is over must not leave."""
        parts = self.root / ".fwsync" / "parts"
        return sorted(str(one.relative_to(parts)) for one in parts.rglob("*") if one.is_file())


def _copies(folder: Path) -> list[tuple[str, str]]:
    """Conflict copies by their names on disk, and how they are told: ``x.copy.dcm``."""
    marked: dict[str, list[tuple[str, int, str]]] = {}
    for name in [one.name for one in folder.iterdir()] if folder.is_dir() else []:
        if found := _COPY.search(name):
            whole = f"{name[: found.start()]}.copy{{}}{name[found.end() :]}"
            marked.setdefault(whole, []).append((found[1], int(found[3] or 0), name))
    return [
        (name, whole.replace("{}", f"-{number}" if number > 1 else ""))
        for whole, found in marked.items()
        for number, (_, _, name) in enumerate(sorted(found), 1)
    ]


def _by_id(folder: Path, step: str) -> str:
    return next(one.name for one in folder.iterdir() if _BY_ID.sub("%id", one.name) == step)


def spell_out(path: str) -> str:
    return "/".join(steps(path))


# -------------------------------------------------------------------------------------- server

_KINDS = ("project", "subject", "session", "acquisition")


class Server(Site):
    """A project of the sandbox, and somebody who works there."""

    def __init__(self, ground: Ground, data: Path, label: str, words: Words) -> None:
        super().__init__(ground, label)
        self._words = words
        self._db = data / "sandbox.db"
        self.verbs: dict[str, Callable[..., None]] = {
            "write": self.write, "again": self.again, "delete": self.delete,
            "relabel": self.relabel, "move": self.move, "tag": self.tag,
            "make": self.make_container, "twin": self.twin, "access": self.access,
            "delete-project": self.delete_project, "rename": self.rename_file,
            "copy": self.copy,
        }  # fmt: skip

    def _query(self, sql: str, *args: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self._db}?mode=ro", uri=True)) as db:
            return db.execute(sql, args).fetchall()

    # ------------------------------------------------------------------------- where it is

    def _child(self, parent: str, step: str) -> str:
        """A living container by its label; ``a#2`` is the second one that is labelled so."""
        label, _, number = step.rpartition("#") if re.search(r"#\d+$", step) else (step, "", "1")
        found = self._query(
            "SELECT id FROM containers WHERE parent_id = ? AND label = ? AND deleted IS NULL"
            " AND kind != 'analysis' ORDER BY id",
            parent, label,
        )  # fmt: skip
        return str(found[int(number) - 1][0]) if len(found) >= int(number) else ""

    def container(self, path: Steps) -> str:
        """Its id; empty where there is none."""
        at = self.project
        for step in path:
            at = at and self._child(at, step)
        return at

    def _made(self, path: Steps) -> str:
        at = self.project
        for depth, step in enumerate(path):
            at = self._child(at, step) or self._make_below(_KINDS[depth + 1], at, step)
        return at

    def _make_below(self, kind: str, above: str, label: str) -> str:
        if kind == "subject":
            return self.subject(label)
        if kind == "session":
            return self.session(above, label)
        return self.make("acquisition", label, session=above)

    def _file(self, path: Steps) -> tuple[str, str]:
        """Id and hash of a living file; empty where there is none."""
        found = self._query(
            "SELECT id, sha384 FROM files WHERE container_id = ? AND name = ? AND deleted IS NULL",
            self.container(path[:-1]), path[-1],
        )  # fmt: skip
        return (str(found[0][0]), str(found[0][1])) if found else ("", "")

    def _blob(self, sha384: str) -> bytes:
        return self.ground.sandbox.site.blobs.path(sha384).read_bytes()

    # ------------------------------------------------------------------------- what is done

    def write(self, path: str, text: str) -> None:
        self._put(steps(path), self._words.bytes_of(text))

    def _put(self, path: Steps, data: bytes) -> None:
        self.put(_KINDS[len(path) - 1], self._made(path[:-1]), path[-1], data)

    def again(self, path: str) -> None:
        """A new version with the very bytes of the last one."""
        self._put(steps(path), self._blob(self._file(steps(path))[1]))

    def copy(self, old: str, new: str) -> None:
        self._put(steps(new), self._blob(self._file(steps(old))[1]))

    def delete(self, path: str) -> None:
        """A file; where there is none of that name, a container."""
        where = steps(path)
        kind = _KINDS[len(where) - 1]
        if self._file(where)[0]:
            above = self.container(where[:-1])
            name = where[-1]
            self.ground.ask("DELETE", f"/{kind}s/{above}/files/{_quoted(name)}")
        else:
            self.gone(_KINDS[len(where)], self.container(where))

    def delete_project(self) -> None:
        self.gone("project", self.project)

    def relabel(self, path: str, label: str) -> None:
        where = steps(path)
        body = {"label": spell_out(label)}
        self.ground.ask("PUT", f"/{_KINDS[len(where)]}s/{self.container(where)}", body)

    def move(self, path: str, above: str) -> None:
        """A container to another parent of the same kind."""
        where, parent = steps(path), self._made(steps(above))
        body: dict[str, object] = (
            {"subject": {"_id": parent}} if len(where) == 2 else {"session": parent}
        )
        self.ground.ask("PUT", f"/{_KINDS[len(where)]}s/{self.container(where)}", body)

    def rename_file(self, old: str, new: str) -> None:
        where = steps(old)
        above = {"type": _KINDS[len(where) - 1], "id": self.container(where[:-1])}
        body = {"container_reference": above, "name": spell_out(new)}
        self.ground.ask("POST", f"/files/{self._file(where)[0]}/move", body)

    def tag(self, path: str, text: str) -> None:
        where = steps(path)
        file = self._file(where)[0]
        if file:
            above = f"/{_KINDS[len(where) - 1]}s/{self.container(where[:-1])}"
            body = {"value": text}
            self.ground.ask("POST", f"{above}/files/{_quoted(where[-1])}/tags", body)
        else:
            kind, id_ = _KINDS[len(where)], self.container(where)
            self.ground.ask("POST", f"/{kind}s/{id_}/tags", {"value": text})

    def make_container(self, path: str) -> None:
        self._made(steps(path))

    def twin(self, path: str) -> None:
        """One more container with a label that there is already."""
        where = steps(path)
        self._make_below(_KINDS[len(where)], self.container(where[:-1]), where[-1])

    def access(self, access: str) -> None:
        """What the ordinary user may do from now on; runs are that user's then."""
        self.ground.allow(self.project, access)

    # ------------------------------------------------------------------------- what is there

    def _containers(self) -> dict[str, tuple[str, str]]:
        """Id -> parent and label, of those that live."""
        return {
            str(id_): (str(parent), str(label))
            for id_, parent, label in self._query(
                "SELECT id, parent_id, label FROM containers WHERE project_id = ?"
                " AND deleted IS NULL AND kind != 'analysis'",
                self.project,
            )
        }

    def shown(self) -> Shown:
        """Every living file, and every container with nothing in it."""
        containers = self._containers()
        paths = {id_: self._path(id_, containers) for id_ in containers}
        words = _Known(self._blob)
        found, busy = [], {self.project}
        for container, name, sha384 in self._query(
            "SELECT container_id, name, sha384 FROM files WHERE project_id = ? AND deleted IS NULL",
            self.project,
        ):
            busy.add(container)
            named = _COPY.sub(".copy", name)
            found.append(f"{spell((*paths.get(container, ()), named))} {words[sha384]}")
        busy.update(parent for parent, _ in containers.values())
        found += [f"{spell(paths[id_])}/" for id_ in containers if id_ not in busy]
        return sorted(found)

    def _path(self, id_: str, containers: dict[str, tuple[str, str]]) -> Steps:
        found: list[str] = []
        while id_ != self.project and id_ in containers:
            id_, label = containers[id_]
            found.append(label)
        return tuple(reversed(found))

    def versions(self) -> dict[str, list[str]]:
        """The contents of living files from the first on, by their paths."""
        containers, words = self._containers(), _Known(self._blob)
        found: dict[str, list[str]] = {}
        for container, name, sha384 in self._query(
            "SELECT f.container_id, f.name, v.sha384 FROM versions v JOIN files f"
            " ON f.id = v.file_id WHERE f.project_id = ? AND f.deleted IS NULL"
            " AND v.deleted IS NULL ORDER BY v.seq",
            self.project,
        ):
            path = spell((*self._path(container, containers), name))
            found.setdefault(path, []).append(words[sha384])
        return found

    def times(self) -> dict[str, float]:
        """When living files were modified, in seconds, by their paths."""
        containers = self._containers()
        return {
            spell((*self._path(container, containers), name)): datetime.fromisoformat(
                modified
            ).timestamp()
            for container, name, modified in self._query(
                "SELECT container_id, name, modified FROM files WHERE project_id = ?"
                " AND deleted IS NULL",
                self.project,
            )
        }

    def twins(self) -> list[tuple[str, str]]:
        """Parents and labels that living containers share."""
        alive = sorted(self._containers().values())
        return sorted({one for one, next_ in pairwise(alive) if one == next_})


class _Known(dict[str, str]):
    """Words by hash, each read once."""

    def __init__(self, blob: Callable[[str], bytes]) -> None:
        super().__init__()
        self._blob = blob

    def __missing__(self, sha384: str) -> str:
        self[sha384] = found = word(self._blob(sha384))
        return found


def _quoted(name: str) -> str:
    return quote(name, safe="")
