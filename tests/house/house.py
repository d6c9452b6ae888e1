"""A sandbox, a slow or lossy wire in front of it, and the command in a process of its own."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import http.client
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from fwsync.sandbox import Sandbox, SandboxSettings, TlsSettings, running_sandbox
from tests.house.wire import Relay

ROOT = Path(__file__).resolve().parents[2]

T = TypeVar("T")
Tree = Mapping[str, bytes]

#: How long a run of the command may take in a test; a run that hangs fails there, and not later.
RUN_S = 50.0

SUMMARY = (
    "uploaded", "downloaded", "deleted", "renamed", "adopted",
    "skipped", "conflicts", "problems", "bytes", "requests",
)  # fmt: skip


# ----------------------------------------------------------------------------------- waiting


def until(true: Callable[[], object], *, what: str, within_s: float = 30.0) -> None:
    """Look again and again until it is so; what is not so in time is a failure."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        pause.wait(0.004)


# ------------------------------------------------------------------------------- the ground


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of a file, as the server's own record has it."""

    path: str  #: labels below the project, and the name
    version: int
    size: int
    sha384: str
    deleted: bool


async def _end_tasks() -> None:
    """End what still runs in this loop: an answer that stalls when its client is gone sleeps on."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class Ground:
    """A thread with an event loop that holds a sandbox and relays; use it in a ``with``."""

    def __init__(self, data: Path, **changes: Any) -> None:
        self._settings = SandboxSettings(data, **changes)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._stack = AsyncExitStack()
        self.sandbox: Sandbox

    def __enter__(self) -> Self:
        self._thread.start()
        self.sandbox = self.run(self._stack.enter_async_context(running_sandbox(self._settings)))
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.run(self._stack.aclose())
        finally:
            self.run(_end_tasks())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    @property
    def port(self) -> int:
        return int(self.sandbox.url.rpartition(":")[2])

    def relay(self) -> Relay:
        """A new relay to the sandbox; it goes with the ground."""

        async def make() -> Relay:
            relay = Relay(self.port)
            await relay.open()
            self._stack.push_async_callback(relay.close)
            return relay

        return self.run(make())

    def key(self, *, port: int | None = None, secret: str | None = None) -> str:
        """The admin's API key, or one with another port or secret."""
        host, old_port, insecure, own = self.sandbox.api_key.split(":")
        return ":".join([host, str(port or old_port), insecure, secret or own])

    def user_key(self, *, port: int | None = None) -> str:
        """The key of a user who sees nothing yet."""
        return self.key(port=port, secret=self.sandbox.user_api_key.rpartition(":")[2])

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """What may be nowhere but in the key file."""
        keys = (self.sandbox.api_key, self.sandbox.user_api_key)
        return tuple(key.rpartition(":")[2].encode() for key in keys)

    # ------------------------------------------------------------------------ its record

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """A request by the admin, past every relay; below ``/api`` unless it is the sandbox's."""
        return json.loads(self.content(method, path, body))

    def content(self, method: str, path: str, body: object = None) -> bytes:
        """What such a request is answered, be it JSON or a file."""
        base = "" if path.startswith("/sandbox/") else "/api"
        secret = self.sandbox.api_key.rpartition(":")[2]
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as wire:
            data = None if body is None else json.dumps(body).encode()
            headers = {"Authorization": f"Bearer {secret}"}
            wire.request(method, base + path, data, headers)
            answer = wire.getresponse()
            content = answer.read()

        assert answer.status == 200, (answer.status, content)
        return content

    def group(self, id_: str = "lab") -> str:
        self.ask("POST", "/groups", {"_id": id_, "label": id_.title()})
        return id_

    def project(self, label: str, group: str = "lab") -> str:
        """Make a project; its id."""
        made: str = self.ask("POST", "/projects", {"label": label, "group": group})["_id"]
        return made

    def allow(self, project: str, access: str) -> None:
        """Give the ordinary user access to a project."""
        body = {"_id": self.sandbox.ready.user_id, "access": access}
        self.ask("POST", f"/projects/{project}/permissions", body)

    def stored(self, project: str) -> list[Stored]:
        """Every version of every file of a project (by label), deleted ones too."""
        record = self.ask("GET", "/sandbox/record")
        by_id = {one["id"]: one for one in record["containers"]}
        found = []
        for file in record["files"]:
            labels: list[str] = [file["name"]]
            at = by_id[file["container_id"]]
            while at["kind"] != "project":
                labels.append(at["label"])
                at = by_id[at["parent_id"]]
            if at["label"] == project:
                path = "/".join(reversed(labels))
                gone = file["deleted"] is not None
                found.append(Stored(path, file["version"], file["size"], file["sha384"], gone))
        return found

    def count(self, project: str) -> int:
        """How many versions of files a project holds; cheap, for asking again and again."""
        file = self._settings.data / "sandbox.db"
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
            found = db.execute(
                "SELECT count(*) FROM versions v JOIN files f ON f.id = v.file_id"
                " JOIN containers c ON c.id = f.project_id WHERE c.label = ?",
                (project,),
            ).fetchone()
        return int(found[0])

    def twins(self) -> list[tuple[str, str, str]]:
        """Containers alive that share kind, parent and label with another one.

        Not analyses: fwsync makes none, and whoever does may give many of them one label.
        """
        alive = Counter(
            (one["kind"], str(one["parent_id"]), one["label"])
            for one in self.ask("GET", "/sandbox/record")["containers"]
            if one["deleted"] is None and one["kind"] != "analysis"
        )
        return [which for which, count in alive.items() if count > 1]

    def requests(self) -> list[dict[str, Any]]:
        """What was asked since :meth:`forget_requests`."""
        asked: list[dict[str, Any]] = self.ask("GET", "/sandbox/requests")["requests"]
        return asked

    def forget_requests(self) -> None:
        self.ask("DELETE", "/sandbox/requests")


@contextmanager
def grounded(data: Path, *, tls: TlsSettings | None = None, **changes: Any) -> Iterator[Ground]:
    """A ground with the group ``lab``; ``changes`` go to the settings of its sandbox."""
    with Ground(data, tls=tls, **changes) as ground:
        if tls is None:
            ground.group()
        yield ground


# ------------------------------------------------------------------------------ the command


@dataclass(frozen=True, slots=True)
class Done:
    """What a run left behind."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out[-3000:]}\n--- stderr\n{self.err[-3000:]}"

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines of stdout."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def summary(self) -> dict[str, Any]:
        """The last JSON line."""
        assert self.out, self
        last = self.lines[-1]

        assert "summary" == last["event"], self
        return last

    def moved(self) -> dict[str, int]:
        """The part of the summary that is nothing when all is in step."""
        summary = self.summary
        names = ("uploaded", "downloaded", "deleted", "adopted", "conflicts", "problems", "bytes")
        return {name: summary[name] for name in names if summary[name]}


@dataclass(slots=True)
class Desk:
    """Where commands are typed: a home, a working folder, and a key.

    Args:
        home: made when missing; nothing else of the environment is handed on.
        key: in ``FWSYNC_API_KEY``; empty: none.
        python: of the environment that the command runs in.
    """

    home: Path
    key: str = ""
    env: dict[str, str] = field(default_factory=dict)
    python: str | Path = sys.executable

    def environment(self) -> dict[str, str]:
        self.home.mkdir(parents=True, exist_ok=True)
        made = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
        }
        if self.key:
            made["FWSYNC_API_KEY"] = self.key
        return made | self.env

    def start(
        self,
        *args: str | Path,
        program: Sequence[str] = ("-m", "fwsync"),
        as_user: bool = False,
        prepare: Callable[[], None] | None = None,
    ) -> subprocess.Popen[bytes]:
        """The command in a process of its own; the caller ends it.

        Args:
            args: of the command.
            program: what the interpreter runs.
            as_user: file modes bind it, even where the tests run as root.
            prepare: called in the child before the command starts.
        """

        def before() -> None:
            if as_user:
                _drop_file_privileges()
            if prepare is not None:
                prepare()

        return subprocess.Popen(
            [str(self.python), *program, *map(str, args)],
            cwd=self.home,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=before if as_user or prepare else None,  # noqa: PLW1509  # no threads of ours hold locks there
        )

    def run(self, *args: str | Path, within_s: float = RUN_S, **how: Any) -> Done:
        """Run it to its end."""
        self.home.mkdir(parents=True, exist_ok=True)
        return finish(self.start(*args, **how), within_s)


def finish(process: subprocess.Popen[bytes], within_s: float = RUN_S) -> Done:
    """Wait for the end; a process that does not end fails the test, and is killed."""
    try:
        out, err = process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        done = Done(process.returncode, out.decode(), err.decode())
        raise AssertionError(f"did not end within {within_s} s\n{done}") from None
    return Done(process.returncode, out.decode(), err.decode())


def stop_watch(process: subprocess.Popen[bytes], within_s: float = RUN_S) -> Done:
    """SIGTERM, once it has a handler for it: an interpreter that only starts dies of the signal."""

    def listens() -> bool:
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split(maxsplit=1)[0], 16)  # proc(5)
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    until(listens, what="the watch takes signals")
    process.send_signal(signal.SIGTERM)
    return finish(process, within_s)


def kill(process: subprocess.Popen[bytes]) -> None:
    """``kill -9``; the process must still have been running."""
    process.kill()
    process.communicate()

    assert -signal.SIGKILL == process.returncode, f"it had ended with {process.returncode}"


_PR_CAPBSET_DROP = 24  # <linux/prctl.h>
_CAPABILITIES = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: <linux/capability.h>


def _drop_file_privileges() -> None:
    """Root like anyone else: what a mode forbids is forbidden from the next ``exec`` on."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in _CAPABILITIES:
            if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")


def complains(done: Done, code: int, *said: str, hint: bool = True) -> None:
    """One error on stderr and, where ``hint``, what to do about it; this exit code."""
    assert "Traceback" not in done.err, done
    assert code == done.code, done

    lines = done.err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    hints = [line for line in lines if line.startswith("hint: ")]

    assert 1 == len(errors), done
    assert re.match(r"error: \S.*\s\S", errors[0]), done
    assert not hint or len(hints) == 1, done
    assert [] == [word for word in said if word not in done.err], done


def held(
    ground: Ground, relay: Relay, desk: Desk, root: Path, label: str
) -> subprocess.Popen[bytes]:
    """A push that has sent something and cannot end."""
    desk.key = ground.key(port=relay.port)
    ground.run(relay.limit(up=4 << 20))
    process = desk.start("push", root, f"lab/{label}", "--transfers", "2", "--json")
    until(lambda: relay.stalled.is_set() and ground.count(label), what="the push stands still")
    return process


# --------------------------------------------------------------------------------- the trees

#: Three files in two acquisitions, where it matters little what they are.
SOME: Tree = {
    "sub-01/ses-01/t1/1.dcm": b"one",
    "sub-01/ses-01/t1/2.dcm": b"two",
    "sub-02/ses-01/t2/1.dcm": b"three",
}


def plant(root: Path, tree: Tree) -> Path:
    """Write files below a root."""
    root.mkdir(parents=True, exist_ok=True)
    for path, content in tree.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return root


def grown(root: Path) -> dict[str, bytes]:
    """Every file below a root but our own folder's; relative path -> content."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink() and ".fwsync" not in path.parts
    }


def visible(root: Path) -> int:
    """How many files stand below a root under their final names."""
    count = 0
    for _, folders, names in os.walk(root):
        if ".fwsync" in folders:
            folders.remove(".fwsync")
        count += len(names)
    return count


def leftovers(root: Path) -> list[str]:
    """Parts and trash that a finished run must not leave."""
    own = root / ".fwsync"
    folders = (own / "parts", own / "trash")
    return [str(p.relative_to(root)) for top in folders for p in top.rglob("*") if p.is_file()]


def some_tree(seed: int, *, small: int = 240, large: Sequence[int] = (2, 2, 5)) -> Tree:
    """A tree of subjects: many small files, and a few of so many MB spread among them."""
    dice = random.Random(seed)
    tree: dict[str, bytes] = {}
    for number in range(small):
        folder = f"sub-{number % 4:02}/ses-{number % 3}/acq-{number % 7}"
        tree[f"{folder}/{number:04}.dcm"] = dice.randbytes(dice.choice([0, 1, 700, 4096, 9000]))
    for number, size in enumerate(large):
        folder = f"sub-{number % 4:02}/ses-{number % 3}/acq-{number % 7}"
        tree[f"{folder}/big-{number}.nii"] = dice.randbytes((size << 20) + dice.randrange(5000))
    return tree


def size_of(tree: Tree) -> int:
    return sum(map(len, tree.values()))


def expected_record(tree: Tree) -> list[tuple[str, int, int, str]]:
    """What the server must hold of a tree: path, version 1, size, hash; nothing twice."""
    return sorted(
        (path, 1, len(content), hashlib.sha384(content).hexdigest())
        for path, content in tree.items()
    )


def record_of(ground: Ground, project: str) -> list[tuple[str, int, int, str]]:
    """What the server holds of a project, in the form of :func:`expected_record`."""
    return sorted(
        (one.path, one.version, one.size, one.sha384.rpartition("-")[2])
        for one in ground.stored(project)
    )


def check_state(root: Path) -> None:
    """The state below a root is whole, by SQLite's own check."""
    (file,) = (root / ".fwsync").glob("*.db")
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        assert [("ok",)] == db.execute("PRAGMA integrity_check").fetchall()
