"""Where a file of the server comes down on this disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fwsync.model import Decision


@dataclass(frozen=True, slots=True)
class Target:
    """A place for a file, or for the members of a pack."""

    on_disk: str  #: below the root; of a pack, the folder of its members
    kind: str = ""  #: of a pack, which is unpacked; empty: a file
    #: Of a pack: would a file of this name in the folder be its member again?
    takes: Callable[[str], bool] = lambda _name: True
    as_zip: str = ""  #: of a pack: where it lies if it is none of ours; empty: nowhere
    #: Of a pack: it is known by its name alone, and stays a zip, too, if it cannot be unpacked.
    any_zip: bool = False


#: Says where; raises FileProblem where there is no place for it.
Where = Callable[[Decision], Target]


def where_it_stands(decision: Decision) -> Target:
    """A file lies where its path says, as the file system spells it."""
    return Target(decision.path if decision.local is None else decision.local.on_disk)
