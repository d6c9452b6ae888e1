r"""A rule for labels and file names, for the servers that have one: refused, or altered.

Off unless the switch ``names`` says so. Source: the vendor's documentation, which speaks of
``: * ? " < > | \ /`` and control characters, and of both ways; of ``t2*`` as ``t2star`` too.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from fwsync.sandbox.problems import invalid

Rule = Literal["", "refuse", "alter"]

MAX_NAME: Final = 255  # characters
_T2_STAR: Final = re.compile(r"(t2[ _]?)\*", re.IGNORECASE)
_NOT_ALLOWED: Final = re.compile(r'[\x00-\x1f\x7f:*?"<>|\\/]')


def named(rule: Rule, text: str) -> str:
    """A label or name as this site keeps it; an empty one has nothing to object to.

    Raises:
        ApiError: 400, it is refused.
    """
    if not rule:
        return text
    kept = _NOT_ALLOWED.sub("_", _T2_STAR.sub(r"\1star", text))[:MAX_NAME]
    if rule == "refuse" and kept != text:
        raise invalid(f"{text[:40]!r} has a character that is not allowed in names, or too many")
    return kept
