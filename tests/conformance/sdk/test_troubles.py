"""The official SDK meets the troubles of a script, and does what it does on a real site."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.place import Place
from tests.conformance.sdk.process import FlowFailed, Sdk
from tests.house.house import Ground

Script = Callable[..., None]


@pytest.fixture
def script(ground: Ground) -> Iterator[Script]:
    """Adds a rule; all are gone after the test."""

    def add(match: dict[str, Any], **action: Any) -> None:
        ground.ask("POST", "/sandbox/faults", {"match": match, "action": action})

    yield add
    ground.ask("DELETE", "/sandbox/faults")


@pytest.mark.row("sandbox-faults")
@pytest.mark.parametrize("status", [429, 502, 503])
def test_a_get_that_is_refused_once_is_sent_again(
    sdk: Sdk, ground: Ground, place: Place, script: Script, status: int
) -> None:
    path = f"/containers/{place.session}"
    script({"method": "GET", "path": path, "hits": {"nth": 1}}, status=status)
    ground.forget_requests()

    seen = sdk("hierarchy.change", session=place.session)

    assert "renamed" == seen["label"]
    asked = [one for one in ground.requests() if one["path"].endswith(path)]
    assert [status, 200] == [one["status"] for one in asked]


@pytest.mark.row("sandbox-faults", "error-shape")
def test_a_post_that_is_refused_is_not_sent_again(
    sdk: Sdk, ground: Ground, place: Place, script: Script
) -> None:
    script({"method": "POST", "path": "/sessions/*/tags"}, status=503)
    ground.forget_requests()

    with pytest.raises(FlowFailed) as met:
        sdk("metadata.tags", container=place.session)

    assert 503 == met.value.status
    asked = [one for one in ground.requests() if one["path"].endswith("/tags")]
    assert 1 == len(asked)


@pytest.mark.row("sandbox-faults", "signed-finalize")
def test_a_put_that_failed_for_good_leaves_no_file(
    sdk: Sdk, ground: Ground, place: Place, script: Script, tmp_path: Path
) -> None:
    file = tmp_path / "lost.bin"
    file.write_bytes(b"lost")
    script({"method": "PUT", "path": "**"}, status=403)
    ground.forget_requests()

    with pytest.raises(FlowFailed):
        sdk("uploads.signed", container=place.acquisition, path=file)

    # It ends the upload all the same: the sandbox has to look whether the bytes are there.
    ends = [one for one in ground.requests() if one["method"] == "POST"]
    assert 2 == len(ends)
    assert ends[-1]["status"] >= 400
    assert [] == place.versions(place.acquisition)
