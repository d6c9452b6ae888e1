"""What differs for these tests, and the profiles that bound them."""

from __future__ import annotations

import pytest

from tests.properties.profiles import MORE


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """Not here: a run has no threads, so that it takes the same steps each time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each looks at many worlds, and takes the time that it needs."""
    for item in items:
        if "tests/properties/" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(240 * MORE))
