"""Rule files on disk: what they hold, and what is wrong with them, with the line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fwsync.errors import UsageError
from fwsync.rulefile import LARGEST, read_rules

GOOD = """\
# of our own site
- level: acquisition
  include: ["path=~**/*.dcm"]
  type: dicom
  mappings:
    - PatientID=subject.label
- level: subject
  mappings: ["path={sub}/*"]
  defaults: {session.label: 2024-05-17}
"""


def written(folder: Path, text: str | bytes) -> Path:
    file = folder / "rules.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


@pytest.mark.parametrize(
    "text", [GOOD, "rules:\n" + "".join(f"  {line}\n" for line in GOOD.splitlines())]
)
def test_the_rules_of_a_file_are_tables_that_a_state_can_keep(text: str, tmp_path: Path) -> None:
    first, second = read_rules(written(tmp_path, text))

    assert {"level", "include", "type", "mappings"} == first.keys()
    assert "2024-05-17" == second["defaults"]["session.label"]
    assert [first, second] == json.loads(json.dumps([first, second]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- level: acquisition\n- levle: x\n", [":2: rule 2", "'levle' is not known"]),
        ("rules:\n  - level: subject\n\n  - level: planet\n", [":4: rule 2", "'planet'"]),
        ("- level: subject\n- 3\n", [":2: rule 2", "is 3"]),
        ("- level: [subject\n- x: }\n", [":2: is not YAML"]),
        ("- level: subject\n\tx: 1\n", [":2: is not YAML"]),
        ("", ["expected a list of rules"]),
        ("{}", ["expected a list of rules"]),
        (b"- level: subject\n# \xff\n", [":2: the rule file is not UTF-8"]),
        ("- !!python/object/apply:os.system [true]\n", ["is not YAML"]),
        ("- defaults: &b {x: *b}\n", [":1: rule 1", "holds itself"]),
        ("#" * (LARGEST + 1), ["is larger than"]),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    text: str | bytes, words: list[str], tmp_path: Path
) -> None:
    file = written(tmp_path, text)
    with pytest.raises(UsageError) as raised:
        read_rules(file)

    said = raised.value.message
    assert said.startswith(str(file)), said
    assert [] == [word for word in words if word not in said], said


def test_a_file_that_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    levels = [f"- &l{one} [{', '.join([f'*l{one - 1}'] * 10)}]" for one in range(1, 9)]
    bomb = "defaults:\n- &l0 [x]\n" + "\n".join(levels)
    indented = "\n".join(f"    {line}" for line in bomb.splitlines()[1:])
    file = written(tmp_path, f"- level: subject\n  defaults:\n{indented}\n")

    with pytest.raises(UsageError, match="more than"):
        read_rules(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_rules(tmp_path / "none.yaml")
