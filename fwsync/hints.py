"""Watch the root for hints that a folder may have changed: the only user of watchdog.

One rule: a hint says "look there", never what happened. Losing one costs time, not data:
whoever waits here scans everything now and then anyway, and at once when told to.

Source of the hooks: watchdog 7.1.0. It logs a kernel queue overflow, rebuilds its watches
and sends no event for what was lost; it ignores a watch that cannot be added below the
root; it builds the representation of every watch to warn that one was added twice. The
small subclasses here turn the first two into facts and leave out the third.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
import unicodedata
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watchdog.events import (
    DirAttribEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
)

from fwsync.filters import IGNORE_FILE
from fwsync.model import RelPath

logger = logging.getLogger(__name__)

_RESERVED = ".fwsync"  # names that begin so are ours: no hints from our own writing
_MAX_FOLDERS = 10_000  # waiting to be taken; with more than that, looking everywhere is cheaper
_ROOT = RelPath("")

#: Not opened and not closed-without-writing: our own reading would wake us for ever.
_EVENTS: list[type[FileSystemEvent]] = [
    DirAttribEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]


@dataclass(frozen=True, slots=True)
class Hint:
    """Where to look. Empty and not ``everywhere``: only time has passed."""

    folders: frozenset[RelPath]  #: these folders may have changed; the root is the empty path
    everywhere: bool = False  #: events were lost, or nobody watches any more: scan everything

    def __bool__(self) -> bool:
        return self.everywhere or bool(self.folders)


class Hints:
    """Hints from the kernel for one root, for one event loop.

    Args:
        root: the folder to watch, with all below it.
        polled: do not watch: the caller knows that events do not come (a network share).
    """

    def __init__(self, root: Path, *, polled: bool = False) -> None:
        self._root = os.fspath(root)
        self._polled = polled
        self._observer: _Observer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # Threads append and, if no wake-up is under way, ask for one. The loop first notes
        # that none is under way and then drains, so no hint falls between; no lock is needed.
        self._inbox: deque[RelPath | None] = deque()  # None: everywhere
        self._last: RelPath | None = None
        self._waking = False
        self._folders: set[RelPath] = set()
        self._everywhere = False
        self._arrived = asyncio.Event()
        self._stopped = False
        self.overflows = 0  #: how often the kernel lost events
        self.problem = "" if not polled else "the file system gives no events; it is scanned"

    @property
    def complete(self) -> bool:
        """True while every change gives a hint; else the caller looks for itself, and often."""
        return self.alive() and not self.problem

    def alive(self) -> bool:
        """Is the watching at work? False also if it never began."""
        return self._observer is not None and self._observer.working()

    async def start(self) -> None:
        """Begin to watch. Never fails: what is wrong is told by :attr:`problem`.

        Changes from the moment of the call on give a hint, at the latest when it returns;
        scan after it, not before.
        """
        if self._polled:
            return
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._start)

    def _start(self) -> None:
        try:
            self._root = os.path.abspath(self._root)  # noqa: PTH100  # links stay: events have them
            self._observer = _Observer(self)
            self._observer.schedule(
                _Handler(self), self._root, recursive=True, event_filter=_EVENTS
            )
            self._observer.start()
        except OSError as error:
            self.problem = _why_not(error)
        except Exception as error:
            # A library that changed under us must not stop the daemon: it can scan.
            logger.exception("cannot watch %s", self._root)
            self.problem = f"cannot watch for changes ({error}); the tree is scanned instead"
        else:
            return
        if self._observer is not None:
            self._observer.give_up()
            self._observer = None

    async def wait(self, timeout_s: float | None = None) -> Hint:
        """The folders hinted at since the last call; waits for the first one.

        Args:
            timeout_s: how long to wait; None: until there is a hint.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._arrived.wait()
        except TimeoutError:
            pass
        self._drain()
        hint = Hint(frozenset(self._folders), self._everywhere)
        self._folders.clear()
        self._everywhere = False
        self._arrived.clear()
        return hint

    async def stop(self, timeout_s: float = 5.0) -> bool:
        """Stop watching; False if the threads did not end in time (they are daemons)."""
        self._stopped = True
        observer, self._observer = self._observer, None
        if observer is None:
            return True
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def end() -> None:
            observer.give_up()
            try:
                loop.call_soon_threadsafe(ended.set)
            except RuntimeError:  # the loop is closed: nobody waits any more
                pass

        # Not asyncio.to_thread: the loop waits for those when it closes, without a bound.
        threading.Thread(target=end, name="fwsync-hints-stop", daemon=True).start()
        try:
            async with asyncio.timeout(timeout_s):
                await ended.wait()
        except TimeoutError:
            logger.warning("watching %s did not stop within %s s", self._root, timeout_s)
            return False
        return True

    # ---- called by the threads of watchdog

    def push(self, on_disk: str) -> None:
        """Something about this folder, by its absolute path on disk."""
        folder = self._below_root(on_disk)
        if folder is None or (self._waking and folder == self._last):
            return
        self._last = folder
        self._send(folder)

    def lost(self, *, overflow: bool = False, problem: str = "") -> None:
        """Events were lost, or none will come: look everywhere."""
        if overflow:
            self.overflows += 1
        if problem and not self.problem:
            self.problem = problem
        self._send(None)

    def _send(self, item: RelPath | None) -> None:
        self._inbox.append(item)
        if not (self._waking or self._stopped or self._loop is None):
            self._waking = True
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:  # the loop is closed
                pass

    # ---- called in the loop

    def _drain(self) -> None:
        self._waking = False
        while self._inbox:
            item = self._inbox.popleft()
            if item is None or len(self._folders) >= _MAX_FOLDERS:
                self._everywhere = True
                self._folders.clear()
            if item is not None and not self._everywhere:
                self._folders.add(item)
        if self._folders or self._everywhere:
            self._arrived.set()

    def _below_root(self, on_disk: str) -> RelPath | None:
        """The folder's path, or None if it is ours; the nearest one above if it is no text."""
        if on_disk == self._root:
            return _ROOT
        prefix = self._root if self._root.endswith("/") else f"{self._root}/"
        if not on_disk.startswith(prefix):
            return _ROOT
        names: list[str] = []
        for name in on_disk[len(prefix) :].split("/"):
            if name.startswith(_RESERVED) and name != IGNORE_FILE:
                return None
            try:
                name.encode()
            except UnicodeEncodeError:
                break
            names.append(name)
        return RelPath(unicodedata.normalize("NFC", "/".join(names)))


def _why_not(error: OSError) -> str:
    """What stands in the way, and the setting to change (F100)."""
    if error.errno == errno.ENOSPC:
        name, least = "max_user_watches", 524_288
    elif error.errno == errno.EMFILE:
        name, least = "max_user_instances", 512
    else:
        return f"cannot watch for changes ({error.strerror}); the tree is scanned instead"
    try:
        now = int(Path(f"/proc/sys/fs/inotify/{name}").read_text(encoding="ascii"))
    except (OSError, ValueError):
        now = 0
    return (
        f"the kernel's limit of inotify watches is reached ({name} = {now}); what it leaves out "
        f"is scanned instead; to raise it: sysctl fs.inotify.{name}={max(least, 2 * now)}"
    )


# ------------------------------------------------------------------------ inside watchdog


class _Handler(FileSystemEventHandler):
    def __init__(self, hints: Hints) -> None:
        self._hints = hints

    def dispatch(self, event: FileSystemEvent) -> None:
        for path in (event.src_path, event.dest_path):
            if path:
                text = os.fsdecode(path)
                # Of a folder's event its parent is told too: it is the one that lists it.
                self._hints.push(os.path.dirname(text))  # noqa: PTH120  # hot
                if event.is_directory:
                    self._hints.push(text)


class _Inotify(InotifyFD):
    """The thread that reads the kernel's queue; tells of what the original keeps quiet."""

    def __init__(self, hints: Hints) -> None:
        super().__init__()
        self._hints = hints

    def add_callback(
        self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId
    ) -> WatchDescriptor:
        try:
            with self._lock:
                watch = self._get_or_create_watch(path, mask)
                if watch.wd == -1:  # EACCES, which the original takes for a watch
                    del self._watch_for_wd[watch.wd]
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
                watch.callbacks[id_] = callback  # twice is fine: no warning
                return watch.wd
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.ENOMEM):
                self._hints.lost(problem=_why_not(error))
            raise

    def handle_event(self, event: InotifyEvent) -> None:
        super().handle_event(event)  # rebuilds the watches after an overflow
        if event.is_queue_overflow:
            self._hints.lost(overflow=True)
        elif event.mask & InotifyConstants.IN_UNMOUNT:
            self._hints.lost(problem="a file system below the root was unmounted")

    def run(self) -> None:
        _run(super().run, self._hints)


class _Emitter(InotifyEmitter):
    def __init__(self, *args: Any, hints: Hints, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._hints = hints

    def run(self) -> None:
        _run(super().run, self._hints)


class _Observer(BaseObserver):
    def __init__(self, hints: Hints) -> None:
        self._hints = hints
        self._inotify = _Inotify(hints)
        self._inotify.start()
        super().__init__(_Emitter, inotify_fd=self._inotify, hints=hints)

    def working(self) -> bool:
        """Are all the threads alive that a hint passes through?"""
        emitters = list(self.emitters)
        threads = (self, self._inotify, *emitters)
        return bool(emitters) and all(thread.is_alive() for thread in threads)

    def give_up(self) -> None:
        """Stop all threads, started or not, and wait for them."""
        self.stop()
        self._inotify.stop()
        for thread in (self, self._inotify):
            if thread.is_alive():
                thread.join()

    def run(self) -> None:
        _run(super().run, self._hints)


def _run(run: Callable[[], None], hints: Hints) -> None:
    """Run a thread; when it ends, wanted or not, whoever waits is told to look."""
    try:
        run()
    except Exception:
        logger.exception("watching for changes ended unexpectedly")
    finally:
        hints.lost()
