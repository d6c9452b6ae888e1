"""What a mistyped word was meant to be: the near spellings among those that there are."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from itertools import islice

#: So many words are compared with; more would take longer than reading the answer.
MOST_COMPARED = 10_000

_MOST_NEAR = 3
_MOST_SHOWN = 5
_PLAIN = re.compile(r"[\w./:…-]+")  # stands without quotation marks
_MOST_CHARS = 60  # of a word


def near(word: str, there: Iterable[str]) -> list[str]:
    """Up to three that are spelled like a word; case does not count.

    Args:
        word: was typed.
        there: could have been meant.

    Returns:
        The nearest first; those that are as near as each other in the order that was given.
    """
    by_fold = {one.casefold(): one for one in islice(there, MOST_COMPARED)}
    wanted = word.casefold()
    close = set(difflib.get_close_matches(wanted, by_fold, n=max(1, len(by_fold))))
    matcher = difflib.SequenceMatcher()
    matcher.set_seq2(wanted)

    def likeness(one: str) -> float:
        matcher.set_seq1(one)
        return matcher.ratio()

    nearest = sorted((one for one in by_fold if one in close), key=likeness, reverse=True)
    return [by_fold[one] for one in nearest[:_MOST_NEAR]]


def did_you_mean(word: str, there: Sequence[str]) -> str:
    """A question for a hint, or what there is instead; empty where there is nothing.

    Args:
        word: was typed.
        there: could have been meant, in the order in which they are to be shown.
    """
    close = near(word, there)
    if close:
        return f"did you mean {' or '.join(map(_shown, close))}?"
    if not there:
        return ""
    more = f", and {len(there) - _MOST_SHOWN:,} more" if len(there) > _MOST_SHOWN else ""
    return f"there is {', '.join(map(_shown, there[:_MOST_SHOWN]))}{more}"


def _shown(word: str) -> str:
    text = word if len(word) <= _MOST_CHARS else f"{word[: _MOST_CHARS - 1]}…"
    return text if _PLAIN.fullmatch(text) else repr(text)
