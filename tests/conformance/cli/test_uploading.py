"""Single files with `fw upload` and `fw cp`, by every way that a site may offer."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.cli.command import Cli
from tests.conformance.cli.looking import find
from tests.conformance.cli.trees import sha384
from tests.conformance.place import plant as make_place
from tests.house.house import Ground, grounded

pytestmark = pytest.mark.timeout(120)

LARGE = random.Random(7).randbytes((15 << 20) + 12_345)
PARTS = {
    "signed_parts_from": 1 << 20,
    "signed_part_size": 6 << 20,
}


def _ways(ground: Ground) -> Counter[str]:
    """How files came since requests were last forgotten: methods, and whether with a ticket."""
    ways: Counter[str] = Counter()
    for one in ground.requests():
        if one["method"] == "PUT":
            assert "unknown" == (one["caller"] or {"kind": "unknown"})["kind"], one  # no key
            ways["put"] += 1
        elif one["method"] == "POST" and one["route"].endswith("/files"):
            name, _, value = one["query"].partition("=")
            ways["form" if not name else "redeem" if value else "ticket"] += 1
        if one["status"] >= 400:
            ways[f"{one['status']}"] += 1
    return ways


@pytest.mark.row(
    "upload-form", "upload-metadata", "signed-ticket", "signed-put", "signed-finalize",
    "files-versions", "sandbox-switches",
)  # fmt: skip
def test_files_come_by_the_way_that_the_site_offers(
    cli: Cli, ground: Ground, tmp_path: Path, switch: Callable[..., None]
) -> None:
    """By a signed URL, by a form, and on a site that has no URLs although its storage is split."""
    make_place(ground, "Ways")
    note, to = tmp_path / "a note (ü).txt", "fw://lab/Ways"
    note.write_bytes(b"first\n")

    ground.forget_requests()
    cli.good("upload", note, to)
    assert Counter(ticket=1, put=1, redeem=1) == _ways(ground)

    switch(signed_url=False)
    note.write_bytes(b"second\n")
    ground.forget_requests()
    cli.good("upload", note, to)
    assert Counter(form=1) == _ways(ground)

    switch(multiproject=True)
    ground.forget_requests()
    cli.good("cp", note, f"{to}/sub-01")
    assert Counter(ticket=1, form=1) == _ways(ground)

    stored = {(one.path, one.version): one.sha384 for one in ground.stored("Ways")}
    assert {
        (note.name, 1): sha384(b"first\n"),
        (note.name, 2): sha384(b"second\n"),
        (f"sub-01/{note.name}", 1): sha384(b"second\n"),
    } == stored
    entry = find(ground, "lab", "Ways", "files", note.name)
    assert ("text", 2, len(b"second\n")) == (entry["type"], entry["version"], entry["size"])


@pytest.mark.row("stores", "signed-put", "signed-finalize")
@pytest.mark.parametrize(("store", "puts"), [("s3", 3), ("azure", 3), ("gcs", 1)])
def test_every_cloud_takes_a_large_file(fw: Path, tmp_path: Path, store: str, puts: int) -> None:
    """In parts, where the CLI can; and S3 gives it back by a URL of its own."""
    source, back = tmp_path / "large.bin", tmp_path / "back.bin"
    source.write_bytes(LARGE)
    with grounded(tmp_path / "sandbox", store=store, switches=PARTS) as ground:
        cli = Cli(fw, tmp_path / "home", ground.key())
        acquisition = make_place(ground, "Stores").acquisition

        cli.good("upload", source, f"fw://lab/Stores/sub-01/ses-01/<id:{acquisition}>")

        assert Counter(ticket=1, put=puts, redeem=1) == _ways(ground)
        (one,) = ground.stored("Stores")
        name = "sub-01/ses-01/T1w/large.bin"
        assert (name, 1, sha384(LARGE)) == (one.path, one.version, one.sha384)
        if store == "s3":
            cli.good("cp", f"fw://lab/Stores/sub-01/ses-01/T1w/files/{source.name}", back)

            assert LARGE == back.read_bytes()
            assert 302 in [asked["status"] for asked in ground.requests()]
