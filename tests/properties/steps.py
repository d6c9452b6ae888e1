"""The steps of a run, and what happens at them: somebody acts, the run is killed, or one fails."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, TypeVar

from fwsync import renaming
from fwsync.errors import LocalError, Unavailable
from fwsync.state import State, StateThread
from tests.properties.loop import Inline, Order

P = ParamSpec("P")
T = TypeVar("T")

#: Calls of the system at which somebody else may act, or a run may end.
_CALLS = frozenset({"open", "os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir"})


class Killed(BaseException):
    """The process is dead. Whatever it tries afterwards ends like this, too."""


# ------------------------------------------------------------------ what happens in a run

#: What is done at some step of a run: it may change the world, or raise.
Act = Callable[[], None]


def _go_on() -> None:
    """Nothing happens."""


class Steps:
    """The steps of one run, counted; at some of them something happens.

    Args:
        acts: what happens, by the number of the step.
        fails: from this step on the first that may fails, in passing, as such steps fail.
        for_good: not in passing: all that may do so fail from then on.
        stops: at this step the run is asked to end, as by SIGTERM.
        cancels: at this step it is given up, as by a second SIGTERM.
        order: in which order those go on that wait side by side.
    """

    def __init__(
        self,
        acts: Mapping[int, Act] | None = None,
        order: Order | None = None,
        fails: int | None = None,
        for_good: bool = False,
        stops: int | None = None,
        cancels: int | None = None,
    ) -> None:
        self.acts = dict(acts or {})
        self.stop: Act = _go_on  #: what asks the run to end
        self.cancel: Act = _go_on  #: what gives it up
        self._for_good, self._stops, self._cancels = for_good, stops, cancels
        self.order = order or Order()
        self.fails = fails
        self.names: list[str] = []
        self.dead = False
        self._busy = False

    def step(self, name: str, error: Callable[[], Exception] | None = None) -> None:
        """The run is about to do something, or just has.

        Args:
            name: of what it does.
            error: how that fails; None: it cannot.
        """
        if self._busy:
            return
        if self.dead:
            raise Killed
        number = len(self.names)
        self.names.append(name)
        if number == self._stops:
            self.stop()
        if number == self._cancels:
            self.cancel()
        act = self.acts.get(number)
        if act is not None:
            self._busy = True
            try:
                act()
            except Killed:
                self.dead = True
                raise
            finally:
                self._busy = False
        if self.fails is not None and number >= self.fails and error is not None:
            self.fails = number if self._for_good else None
            raise error()

    async def point(self, what: str, path: str) -> None:
        """The same on the server's side."""
        self.step(f"{what} {path}", no_network)
        await self.order.wait()


_steps: Steps | None = None
_hooked = False


def _hear(event: str, args: tuple[object, ...]) -> None:
    if _steps is None or event not in _CALLS:
        return
    path = os.fsdecode(args[0]) if isinstance(args[0], str | bytes) else ""
    if path and not path.startswith("/"):  # all of a root is reached from its descriptor
        _steps.step(f"{event} {path}", no_space)


@contextmanager
def heard(steps: Steps) -> Iterator[None]:
    """What this process asks of the system counts as steps."""
    global _steps, _hooked  # noqa: PLW0603  # an audit hook stays for the life of the process
    if not _hooked:
        sys.addaudithook(_hear)
        _hooked = True
    before, real = _steps, renaming._RENAMEAT2  # a run may stand still while another goes on
    assert real is not None

    def rename(*args: object) -> int:
        steps.step(f"renameat2 {args[1]!r} {args[3]!r}")
        code = int(real(*args))
        steps.step("renamed")
        return code

    _steps, renaming._RENAMEAT2 = steps, rename
    try:
        yield
    finally:
        _steps, renaming._RENAMEAT2 = before, real


class StateOfSteps(StateThread):
    """A state whose calls are steps."""

    def __init__(self, executor: Inline, state: State, steps: Steps) -> None:
        super().__init__(executor, state)
        self._steps = steps

    async def call(
        self, fn: Callable[Concatenate[State, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As it says there; a step before and one after."""
        name = getattr(fn, "__name__", "?")
        self._steps.step(f"state {name}", no_state)
        found = await super().call(fn, *args, **kwargs)
        self._steps.step(f"stated {name}")
        return found


def die() -> None:
    """kill -9."""
    raise Killed


def no_network() -> Exception:
    return Unavailable("the connection broke")


def no_space() -> Exception:
    return OSError(errno.ENOSPC, "No space left on device")


def no_state() -> Exception:
    return LocalError("state.db: no space left on device")
