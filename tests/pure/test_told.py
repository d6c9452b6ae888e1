"""What is counted of a file is taken back when its bytes have to be sent again."""

from __future__ import annotations

import pytest

from fwsync.model import RelPath
from fwsync.told import Told

PATH = RelPath("s/e/a/one.dcm")


class Bar:
    """All that was told, summed up."""

    def __init__(self) -> None:
        self.at = 0

    def advanced(self, path: RelPath, size: int) -> None:
        assert path == PATH
        self.at += size


@pytest.fixture
def bar() -> Bar:
    return Bar()


def test_what_is_told_adds_up(bar: Bar) -> None:
    told = Told(PATH, bar.advanced)
    told.begin(0)
    told.more(0, 3)
    told.more(0, 4)

    assert 7 == told.total == bar.at


def test_a_reading_that_begins_again_takes_back_its_own_and_no_other(bar: Bar) -> None:
    told = Told(PATH, bar.advanced)
    for offset, size in ((0, 5), (5, 2)):
        told.begin(offset)
        told.more(offset, size)
    told.begin(5)

    assert 5 == told.total == bar.at


def test_what_an_earlier_try_has_told_is_taken_back_once(bar: Bar) -> None:
    bar.advanced(PATH, 9)  # by the earlier try
    told = Told(PATH, bar.advanced, 9)
    assert 9 == told.total == bar.at
    told.begin(0)
    told.more(0, 1)
    told.begin(4)
    told.more(4, 1)

    assert 2 == told.total == bar.at


def test_several_readings_begin_at_once(bar: Bar) -> None:
    told = Told(PATH, bar.advanced)
    told.begin(0, -2)
    told.more(0, 3)
    told.more(-2, 4)
    told.begin(-2, 0)

    assert 0 == told.total == bar.at
