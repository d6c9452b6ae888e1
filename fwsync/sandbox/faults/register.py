"""The rules in force: who is met by which, and how often.

Its one rule: every rule sees every request that it matches, so that its count does not depend on
what other rules do. Where two rules fire at once their actions are put together, and where both
say the same thing, the first holds.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Final

from fwsync.errors import UsageError
from fwsync.sandbox.faults.script import MAX_RULES, Action, Asked, Rule, parse_rules

Json = dict[str, Any]
MAX_PATHS: Final = 100_000  # counted by themselves, for each rule; the oldest is forgotten


@dataclass
class Clock:
    """Time, so that a test can replace it."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Link:
    """One direction of a line that carries so many bytes a second, whoever sends them."""

    def __init__(self, rate: int, clock: Clock) -> None:
        self.rate = rate
        self._clock = clock
        self._free = 0.0  # the time at which the line has carried all it was given

    @property
    def piece(self) -> int:
        """Bytes to send at a time: a tenth of a second."""
        return min(64 << 10, max(1, self.rate // 10))

    async def carry(self, size: int) -> None:
        """Wait until the line has carried ``size`` bytes more."""
        now = self._clock.now()
        self._free = max(self._free, now) + size / self.rate
        await self._clock.sleep(self._free - now)


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request."""

    ids: tuple[str, ...]
    action: Action
    clock: Clock
    up: Link | None = None
    down: Link | None = None


@dataclass
class Armed:
    """A rule in force, with its counts and its dice."""

    rule: Rule
    clock: Clock
    hits: int = 0  # requests that matched
    fired: int = 0
    up: Link | None = None
    down: Link | None = None
    _paths: OrderedDict[str, int] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self._dice = Random(self.rule.match.seed)  # noqa: S311 - faults, not secrets
        rate = self.rule.action.bandwidth
        if rate is not None:
            self.up, self.down = Link(rate, self.clock), Link(rate, self.clock)

    def meets(self, asked: Asked) -> bool:
        """Count a request, and say whether the rule fires."""
        match = self.rule.match
        if not match.accepts(asked):
            return False
        self.hits += 1
        if not match.hits.hold(self._number(asked.path)):
            return False
        if match.times is not None and self.fired >= match.times:
            return False
        if match.probability < 1 and self._dice.random() >= match.probability:
            return False
        self.fired += 1
        return True

    def as_json(self) -> Json:
        """The rule as it was told, and its counts."""
        told = self.rule.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return {"id": self.rule.id, **told, "hits": self.hits, "fired": self.fired}

    def _number(self, path: str) -> int:
        if not self.rule.match.hits.each_path:
            return self.hits
        number = self._paths.pop(path, 0) + 1
        self._paths[path] = number
        if len(self._paths) > MAX_PATHS:
            self._paths.popitem(last=False)
        return number


class Faults:
    """The script of a site; empty unless somebody wrote one."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.clock = Clock()
        self._numbers = count(1)
        self._armed: dict[str, Armed] = {}
        self.add(list(rules))

    def __len__(self) -> int:
        return len(self._armed)

    def __iter__(self) -> Iterator[Armed]:
        return iter(self._armed.values())

    def add(self, told: Any) -> list[str]:
        """Add a rule or a list of them, as :func:`parse_rules` reads them; returns their ids.

        Raises:
            UsageError: one cannot be played, or its id is taken; none is added then.
        """
        return self._add(parse_rules(told), self._armed)

    def replace(self, told: Any) -> list[str]:
        """Like :meth:`add`, in place of all that were there; all counts begin anew."""
        return self._add(parse_rules(told), {})

    def remove(self, name: str) -> bool:
        """Take one rule away; whether there was one."""
        return self._armed.pop(name, None) is not None

    def clear(self) -> int:
        """Take all away; how many there were."""
        gone = len(self._armed)
        self._armed = {}
        return gone

    def report(self) -> list[Json]:
        """Every rule, with how often it matched and fired."""
        return [armed.as_json() for armed in self]

    def fired(self, name: str) -> int:
        """How often a rule fired; 0 if there is none of that name."""
        armed = self._armed.get(name)
        return 0 if armed is None else armed.fired

    @property
    def asks_for_callers(self) -> bool:
        """Whether a rule needs to know who asks."""
        return any(armed.rule.match.caller is not None for armed in self)

    def meet(self, asked: Asked) -> Fault | None:
        """Show a request to all the rules; what they do to it, if they do."""
        met = [armed for armed in self if armed.meets(asked)]
        if not met:
            return None
        told: Json = {}
        for armed in met:
            action = armed.rule.action
            for name in action.model_fields_set:
                told.setdefault(name, getattr(action, name))
        links = next((armed for armed in met if armed.up is not None), None)
        return Fault(
            tuple(armed.rule.id for armed in met),
            Action.model_construct(**told),
            self.clock,
            links.up if links else None,
            links.down if links else None,
        )

    def _add(self, rules: tuple[Rule, ...], beside: dict[str, Armed]) -> list[str]:
        if len(beside) + len(rules) > MAX_RULES:
            raise UsageError(f"a script has at most {MAX_RULES} rules")
        armed = dict(beside)
        taken = {rule.id for rule in rules} | set(beside)
        added = []
        for rule in rules:
            name = rule.id or next(
                x for x in map("fault-{}".format, self._numbers) if x not in taken
            )
            if name in armed:
                raise UsageError(f"there is a rule {name!r} already", hint="remove it first")
            armed[name] = Armed(rule.model_copy(update={"id": name}), self.clock)
            added.append(name)
        self._armed = armed
        return added
