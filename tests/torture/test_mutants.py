"""The mutants themselves: each can be made, and what proves nothing is no proof."""

import pytest

from tests.torture.mutants import ROOT, first_failure, judge
from tests.torture.safeguards import MUTANTS, Mutant

PACKAGE = ROOT / "fwsync"
PLAIN = Mutant("any", "any.py", "old", "new", ("tests/any.py",))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_every_mutant_changes_one_place_and_is_python(mutant: Mutant) -> None:
    text = (PACKAGE / mutant.file).read_text()

    found = text.count(mutant.old)

    assert found == 1
    compile(text.replace(mutant.old, mutant.new), mutant.file, "exec")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_the_tests_of_every_mutant_are_there(mutant: Mutant) -> None:
    for test in mutant.tests:
        file, _, name = test.partition("::")

        text = (ROOT / file).read_text()

        assert f"def {name.partition('[')[0]}" in text


def test_no_two_mutants_have_one_name() -> None:
    names = [mutant.name for mutant in MUTANTS]

    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        pytest.param(0, "3 passed", id="it survived"),
        pytest.param(2, "ERROR tests/any.py - ImportError", id="nothing was collected"),
        pytest.param(4, "ERROR: not found: tests/any.py::test_gone", id="no such test"),
        pytest.param(5, "no tests ran", id="no test"),
        pytest.param(1, "ERROR tests/any.py::test_a - OSError: port", id="a fixture failed"),
        pytest.param(1, "FAILED tests/any.py::test_a - NameError: name 'x'", id="a slip"),
        pytest.param(1, "FAILED tests/any.py::test_a - Failed: Timeout (>9.0s) from", id="no end"),
    ],
)
def test_what_proves_nothing_kills_no_mutant(code: int, said: str) -> None:
    killer, why = judge(PLAIN, code, said)

    assert killer == ""
    assert why != ""


def test_a_failing_assertion_kills_a_mutant() -> None:
    said = "...\nFAILED tests/any.py::test_a[lost answer-1 - 2] - assert 1 == 2\n1 failed in 1.0s"

    verdict = judge(PLAIN, 1, said)

    assert verdict == ("any.py::test_a[lost answer-1 - 2]", "assert 1 == 2")


def test_a_mutant_that_is_known_to_hang_may_be_killed_by_the_clock() -> None:
    hangs = Mutant("any", "any.py", "old", "new", ("tests/any.py",), hangs=True)
    said = "FAILED tests/any.py::test_a - Failed: Timeout (>9.0s) from pytest-timeout."

    killer, _ = judge(hangs, 1, said)

    assert killer == "any.py::test_a"


def test_a_failure_without_a_reason_is_one() -> None:
    assert first_failure("FAILED tests/any.py::test_a\n") == ("any.py::test_a", "")
