"""The official SDK puts bytes where signed URLs lead, in each dialect of the clouds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.place import Place
from tests.conformance.sdk.process import Sdk
from tests.house.house import Ground, grounded

#: Bytes of a file, and of its parts. The SDK rounds parts up to multiples of 256 KiB; S3 takes
#: none below 5 MiB but the last.
SIZES = {"s3": (11_000_003, 5 << 20)}
SIZE, PART = 900_001, 256 << 10


@pytest.fixture(scope="module", params=["local", "s3", "azure", "gcs"])
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def ground(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A sandbox whose files lie in a store of that dialect."""
    with grounded(tmp_path_factory.mktemp(store), store=store) as made:
        yield made


@pytest.mark.row("stores", "signed-put", "signed-finalize", "signed-ticket")
@pytest.mark.parametrize("size", [0, 5, 300_000])
def test_one_url_takes_the_whole_file(
    sdk: Sdk, ground: Ground, place: Place, tmp_path: Path, size: int
) -> None:
    assert 1 == sent(sdk, ground, place, tmp_path, size)


@pytest.mark.row("stores", "signed-put", "signed-finalize", "signed-ticket")
def test_several_urls_take_the_parts_in_their_order(
    sdk: Sdk,
    ground: Ground,
    place: Place,
    tmp_path: Path,
    store: str,
    switch: Callable[..., None],
) -> None:
    size, part = SIZES.get(store, (SIZE, PART))
    switch(signed_parts_from=1, signed_part_size=part)

    assert sent(sdk, ground, place, tmp_path, size) > 1


@pytest.mark.row("stores", "signed-direct", "files-upsert")
def test_managed_storage_takes_the_bytes_first(sdk: Sdk, place: Place) -> None:
    content = random.Random(3).randbytes(70_000)

    seen = sdk("uploads.managed", acquisition=place.acquisition, content=content)

    assert ("managed.bin", 70_000, "created") == tuple(
        seen["entry"][name] for name in ("name", "size", "upsert_result")
    )
    assert content == seen["bytes"]
    assert [70_000] == [one["size"] for one in place.versions(place.acquisition)]


def sent(sdk: Sdk, ground: Ground, place: Place, folder: Path, size: int) -> int:
    """A file goes up and comes back whole; how many times bytes were sent to the store."""
    file = folder / "scan a#ü.nii"
    file.write_bytes(random.Random(size).randbytes(size))
    ground.forget_requests()

    seen = sdk("uploads.large", acquisition=place.acquisition, path=file)

    assert (size, True) == (seen["entry"]["size"], seen["same"])
    assert [size] == [one["size"] for one in place.versions(place.acquisition)]
    return [one["method"] for one in ground.requests()].count("PUT")
