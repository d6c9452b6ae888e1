r"""The platform's own rule for names, for those who want it applied beforehand.

fwsync sends labels and names as they are. The rule is needed where a server refuses one,
to recognise what a server has made of one, and for ``names = "platform"``.

Source: flywheel-cli 18.5.1 with pathvalidate 2.5.2, observed: ``t2*`` becomes ``t2star``,
each control character and each of ``: * ? " < > | \ /`` becomes ``_``, a name is cut after
255 characters, ends in no blank or full stop, and is none of Windows' devices.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

#: Characters, not bytes. Source: pathvalidate 2.5.2.
MAX_LENGTH = 255

_T2_STAR = re.compile(r"(t2 ?_?)\*", re.IGNORECASE)
_BAD = re.compile(r'[\x00-\x1f\x7f:*?"<>|\\/]')
# Not before the last full stop alone: `con.txt` is the device too, `con.a.txt` is not.
_DEVICE = re.compile(r"(con|prn|aux|nul|clock\$|com[1-9]|lpt[1-9])(\.[^.]*)?", re.IGNORECASE)
_NOT_IN_PACK = re.compile(r"[^0-9A-Za-z ._-]")


def platform_name(label: str) -> str:
    """A label or file name as the platform's own tools would write it.

    Idempotent, and never empty: what has no character left is ``_``. In these two it
    goes further than the command line, which leaves ``CON`` of ``CON `` and nothing of
    a blank.
    """
    name = _BAD.sub("_", _T2_STAR.sub(r"\1star", label))[:MAX_LENGTH]
    if name not in {".", ".."}:
        name = name.rstrip(" .")
    if match := _DEVICE.fullmatch(name):
        name = f"{match[1]}_{match[2] or ''}"[:MAX_LENGTH]
    return name or "_"


def platform_names(labels: Iterable[str], known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Names for siblings, no two the same: the second that would be ``a_b`` is ``a_b_1``.

    Stable: whoever is known keeps the name, and those that need no change come next, so
    a label that is added later takes a name from nobody.

    Args:
        labels: of containers in one container, or of files in one; in any order.
        known: names given before, by label; they are kept even if the label is gone.

    Returns:
        A name for each label, those of ``known`` among them.
    """
    names = dict(known or {})
    taken = set(names.values())
    for label in sorted(
        set(labels) - names.keys(), key=lambda one: (platform_name(one) != one, one)
    ):
        names[label] = name = _free(platform_name(label), taken)
        taken.add(name)
    return names


def _free(name: str, taken: set[str]) -> str:
    """The name, or the first of ``name_1``, ``name_2``, … that nobody has."""
    if name not in taken:
        return name
    # The number goes in front of the endings, so that the type of a file is still seen.
    stem, dot, ending = name.partition(".") if not name.startswith(".") else (name, "", "")
    number = 1
    while True:
        tail = f"_{number}{dot}{ending}"
        candidate = platform_name(stem[: MAX_LENGTH - len(tail)] + tail)
        if candidate not in taken:
            return candidate
        number += 1


def pack_stem(label: str) -> str:
    """A label as it stands in the name of a pack: letters, digits and `` ._-`` are kept.

    Source: scitran/core 2018, observed: ``T1: w/ t2* x`` and a blank is ``T1 w t2 x.zip``.
    """
    return _NOT_IN_PACK.sub("", label).rstrip() or "pack"
