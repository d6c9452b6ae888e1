"""How an option takes one of a few words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer


def one_of(words: Iterable[str]) -> dict[str, Any]:
    """How an option takes one of these words, for :func:`typer.Option`.

    Args:
        words: an enumeration, whose members it yields, or texts.
    """
    known = {str(word): word for word in words}

    def read(text: str) -> str:
        if text not in known:
            raise typer.BadParameter(f"{text!r} is none of {', '.join(known)}.")
        return known[text]

    return {"parser": read, "metavar": "|".join(known), "autocompletion": lambda: list(known)}
