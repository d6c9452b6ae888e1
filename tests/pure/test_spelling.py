"""What a mistyped word was meant to be."""

from __future__ import annotations

from fwsync.spelling import did_you_mean, near


def test_near_spellings_come_nearest_first_and_case_does_not_count() -> None:
    assert ["Sub-01", "sub-011"] == near("sub-01", ["other", "sub-011", "Sub-01"])
    assert [] == near("sub-01", ["patient", "phantom"])


def test_what_is_near_is_asked_about_and_else_what_there_is_is_shown() -> None:
    many = [f"patient {number}" for number in range(7)]

    assert "did you mean T1 or T2?" == did_you_mean("T", ["T1", "T2", "localizer"])
    assert "did you mean 'my scan'?" == did_you_mean("myscan", ["my scan"])
    assert did_you_mean("x", many).startswith("there is 'patient 0', 'patient 1', ")
    assert did_you_mean("x", many).endswith(", and 2 more")
    assert "" == did_you_mean("x", [])


def test_a_long_word_of_the_server_is_cut() -> None:
    assert len(did_you_mean("x", ["y" * 1000])) < 100
