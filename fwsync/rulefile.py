"""Rule files of fw-meta: YAML from disk, as a value that a state can keep.

The one rule: what such a file says is data. No tag of YAML makes an object of ours, and what is
wrong is said with its file and line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwsync.errors import UsageError
from fwsync.mapping.fwmeta import FwMeta

if TYPE_CHECKING:
    import yaml

#: A rule file is written by hand: what is larger is something else.
LARGEST = 1 << 20

#: Values in a file, those behind aliases counted as often as they are used; and how deep.
MOST_VALUES = 100_000
DEEPEST = 20


@dataclass(slots=True)
class _Count:
    values: int = 0


def read_rules(file: Path) -> list[dict[str, Any]]:
    """The rules of a file, each a table, in order. Holds nothing but what JSON can.

    Raises:
        UsageError: it cannot be read, is no YAML, or holds a rule that is none; the message
            begins with file and line.
    """
    text = _text_of(file)
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        parsed = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        raise UsageError(f"{file}{line}: is not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{file}: is not YAML: {error}") from None
    listed = parsed.get("rules") if isinstance(parsed, Mapping) else parsed
    if not isinstance(listed, list) or not listed:
        raise UsageError(f"{file}: expected a list of rules", hint="each begins with `- level: …`")
    lines = _lines(node)
    count = _Count()
    rules: list[dict[str, Any]] = []
    for number, one in enumerate(listed, start=1):
        where = f"{file}:{lines[number - 1]}: rule {number}" if lines else f"{file}: rule {number}"
        if not isinstance(one, Mapping):
            raise UsageError(f"{where}: is {one!r}; expected a table")
        table = {str(key): _plain(value, where, count) for key, value in one.items()}
        FwMeta(where, table, None, 0)  # says what is wrong with it
        rules.append(table)
    return rules


def _text_of(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            raw = stream.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise UsageError(f"{file}: is larger than {LARGEST:,} bytes; no rule file is")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"{file}: the rule file cannot be read ({error.strerror})",
            hint="check --rules, or rules_file in the settings",
        ) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{file}:{line}: the rule file is not UTF-8") from None


def _lines(node: yaml.Node | None) -> Sequence[int]:
    """The line of each rule, counted from 1."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        of_rules = (value for key, value in node.value if key.value == "rules")
        node = next(of_rules, None)
    if not isinstance(node, yaml.SequenceNode):
        return ()
    return [one.start_mark.line + 1 for one in node.value]


def _plain(value: object, where: str, count: _Count, depth: int = 1) -> Any:
    """The value as JSON has it; times and the like as text."""
    count.values += 1
    if count.values > MOST_VALUES or depth > DEEPEST:
        what = f"more than {MOST_VALUES:,} values" if depth <= DEEPEST else "itself, or as good as"
        raise UsageError(f"{where}: holds {what}; no rule does")
    if isinstance(value, Mapping):
        return {str(key): _plain(one, where, count, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, where, count, depth + 1) for one in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
