"""Siblings with one label, in layouts that know labels only.

A twin is called ``label%id=…`` (:meth:`fwsync.layout.Layout.twin_name`), which no label is. A
mapping reads and writes labels; so it is given the label that is called almost so,
``label%25id=…``, and its answer is turned back. A path that has both is left to nobody.
"""

from __future__ import annotations

from fwsync.model import RelPath

_TWIN, _STAND_IN = "%id=", "%25id="


def names_twin(path: str) -> bool:
    """True if something in it has the name of a twin, and nothing that of the label for it."""
    return _TWIN in path and _STAND_IN not in path


def as_label(path: str) -> RelPath:
    """The path with labels in place of twins."""
    return RelPath(path.replace(_TWIN, _STAND_IN))


def as_twin(path: str) -> RelPath:
    """Undoes :func:`as_label`."""
    return RelPath(path.replace(_STAND_IN, _TWIN))
