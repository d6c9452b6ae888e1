"""The official SDK puts bytes where signed URLs lead, in each dialect of the clouds."""

from __future__ import annotations

import random
from collections.abc import Iterator
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


@pytest.fixture
def whole(ground: Ground, store: str) -> Iterator[int]:
    """The bytes of a file that goes up in several parts."""
    size, part = SIZES.get(store, (SIZE, PART))
    before = ground.ask("GET", "/sandbox/switches")
    names = ("signed_parts_from", "signed_part_size")
    ground.ask("PATCH", "/sandbox/switches", {"signed_parts_from": 1, "signed_part_size": part})
    yield size
    ground.ask("PATCH", "/sandbox/switches", {name: before[name] for name in names})


def sent(folder: Path, size: int) -> Path:
    file = folder / "scan a#ü.nii"
    file.write_bytes(random.Random(size).randbytes(size))
    return file


@pytest.mark.row("stores", "signed-put", "signed-finalize", "signed-ticket")
@pytest.mark.parametrize("size", [0, 5, 300_000])
def test_one_url_takes_the_whole_file(
    sdk: Sdk, ground: Ground, place: Place, tmp_path: Path, size: int
) -> None:
    ground.forget_requests()

    seen = sdk("uploads.large", acquisition=place.acquisition, path=sent(tmp_path, size))

    assert (size, True) == (seen["entry"]["size"], seen["same"])
    assert [size] == [one["size"] for one in place.versions(place.acquisition)]
    assert 1 == puts(ground)


@pytest.mark.row("stores", "signed-put", "signed-finalize", "signed-ticket")
def test_several_urls_take_the_parts_in_their_order(
    sdk: Sdk, ground: Ground, place: Place, tmp_path: Path, whole: int
) -> None:
    ground.forget_requests()

    seen = sdk("uploads.large", acquisition=place.acquisition, path=sent(tmp_path, whole))

    assert (whole, True) == (seen["entry"]["size"], seen["same"])
    assert [whole] == [one["size"] for one in place.versions(place.acquisition)]
    assert puts(ground) > 1


@pytest.mark.row("stores", "signed-direct")
def test_managed_storage_hands_out_urls_of_the_store(sdk: Sdk, place: Place) -> None:
    content = random.Random(3).randbytes(70_000)

    seen = sdk("uploads.managed", acquisition=place.acquisition, content=content)

    assert (70_000, "created") == (seen["entry"]["size"], seen["entry"]["upsert_result"])
    assert content == seen["bytes"]


def puts(ground: Ground) -> int:
    """How many times bytes were sent to the store."""
    return len([one for one in ground.requests() if one["method"] == "PUT"])
