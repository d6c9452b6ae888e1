"""A script from a file: JSON, or TOML with a table ``[[rules]]`` for each rule."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any, Final

from fwsync.errors import UsageError
from fwsync.sandbox.faults.script import HINT, Rule, Unplayable, parse_rules

_HEAD: Final = re.compile(r"^\s*\[\[\s*rules\s*\]\]", re.MULTILINE)


def read_script(path: Path) -> tuple[Rule, ...]:
    """The rules in a file; its name ends in ``.toml``, or else it holds JSON. Blocks.

    Raises:
        UsageError: it cannot be read, or a rule cannot be played; the message names the file, the
            line where that is known, the rule and the key.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"{path}: the script cannot be read ({error.strerror})", hint="check --faults"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: the script is not UTF-8", hint=HINT) from error
    is_toml = path.suffix.lower() == ".toml"
    told = _toml(path, text) if is_toml else _json(path, text)
    try:
        return parse_rules(told)
    except UsageError as error:
        where = ""
        if is_toml and isinstance(error, Unplayable):
            where = _where(text, error.number, error.key)
        raise UsageError(f"{path}{where}: {error.message}", hint=error.hint) from error


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}:{error.lineno}: no JSON ({error.msg})", hint=HINT) from error
    except (RecursionError, ValueError) as error:  # nested too deeply; a number too long to read
        raise UsageError(f"{path}: no JSON that can be read", hint=HINT) from error


def _toml(path: Path, text: str) -> Any:
    try:
        return tomllib.loads(text)
    except (RecursionError, ValueError) as error:
        raise UsageError(f"{path}: no TOML ({error})", hint=HINT) from error


def _where(text: str, number: int, key: str) -> str:
    """The line of a rule's key; where it stands more than once, or not, that of the rule."""
    heads = [head.end() for head in _HEAD.finditer(text)]
    if number >= len(heads):
        return ""
    start, end = heads[number], [*heads, len(text)][number + 1]
    spelled = re.compile(rf"^[^#\n]*?(?<![\w-])[\"']?{re.escape(key)}[\"']?\s*=", re.MULTILINE)
    found = [one.end() for one in spelled.finditer(text, start, end)] if key else []
    if len(found) == 1:
        return f":{text.count(chr(10), 0, found[0]) + 1}"
    return f": in the rule that begins at line {text.count(chr(10), 0, start) + 1}"
