"""Metadata and analyses by the real command line: what comes down, and what never goes up."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from pathlib import Path

from fwsync.courses import PIECE
from tests.house.house import SOME, Desk, Ground, complains, grown, kill, until
from tests.house.test_core2018 import Ground2018
from tests.house.test_pull_large import held_in
from tests.house.wire import Relay

FLAGS = ("--metadata", "--analyses", "--json")
LARGE = bytes(range(256)) * (192 << 10)  # 48 MiB: comes in pieces


def analysed(ground: Ground, label: str, content: bytes) -> str:
    """An analysis of the project's first session, with one output; its id."""
    (project,) = ground.ask("GET", f"/projects?filter=label={label}")
    session = ground.ask("GET", f"/projects/{project['_id']}/sessions")[0]
    made = str(ground.ask("POST", f"/sessions/{session['_id']}/analyses", {"label": "fit"})["_id"])
    head = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="out.bin"\r\n\r\n'
    with closing(http.client.HTTPConnection("127.0.0.1", ground.port, timeout=30)) as wire:
        headers = {
            "Authorization": f"Bearer {ground.sandbox.api_key.rpartition(':')[2]}",
            "Content-Type": "multipart/form-data; boundary=edge",
        }
        body = head + content + b"\r\n--edge--\r\n"
        wire.request("POST", f"/api/analyses/{made}/files", body, headers)
        assert 200 == wire.getresponse().status
    return made


def pieces(root: Path) -> int:
    """How many whole pieces of large files are on record."""
    return sum(held == PIECE for _, held in held_in(root))


def outputs(root: Path) -> list[Path]:
    return list(root.rglob("out.bin"))


def test_they_come_by_two_flags_and_are_counted(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    assert 0 == desk.run("push", root, f"lab/{label}").code
    analysed(ground, label, b"out")
    here = tmp_path / "here"

    plan = desk.run("plan", "pull", f"lab/{label}", here, *FLAGS)
    first = desk.run("pull", f"lab/{label}", here, *FLAGS)
    second = desk.run("pull", f"lab/{label}", here, *FLAGS)
    verified = desk.run("verify", here, "--deep")

    sidecars = [path for path in grown(here) if path.endswith(".flywheel.json")]
    assert len(SOME) + 1 + len(sidecars) == plan.summary["download"], plan
    assert (0, len(SOME) + 1, len(sidecars)) == (
        first.code,
        first.summary["downloaded"],
        first.summary["sidecars"],
    ), first
    assert f"{label}.flywheel.json" in sidecars
    assert (0, {}, 0) == (second.code, second.moved(), second.summary["sidecars"]), second
    assert 0 == verified.code, verified

    told = here / sidecars[0]
    told.write_text(json.dumps({"mine": True}))
    third = desk.run("pull", f"lab/{label}", here, *FLAGS)
    pushed = desk.run("push", here, f"lab/{label}", "--json")
    assert [1, 1] == [third.code, pushed.code], third
    spoken = desk.run("pull", f"lab/{label}", here, *FLAGS[:2]).out
    assert "the next pull writes it anew" in spoken
    assert "push" not in spoken, "no command sends it"
    assert (1, 1, 0) == (
        third.summary["skipped"],
        pushed.summary["skipped"],
        pushed.summary["uploaded"],
    )
    assert {"mine": True} == json.loads(told.read_text())


def test_a_pull_that_is_killed_amid_an_analysis_leaves_nothing_to_send(
    ground: Ground, relay: Relay, desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    assert 0 == desk.run("push", root, f"lab/{label}").code
    analysed(ground, label, LARGE)
    here = tmp_path / "here"
    desk.key = ground.key(port=relay.port)
    ground.run(relay.limit(down=44 << 20))
    process = desk.start("pull", f"lab/{label}", here, *FLAGS)
    until(lambda: pieces(here) and relay.stalled.is_set(), what="a piece is on the disk")
    kill(process)
    ground.run(relay.limit())
    held = ground.count(label)

    pushed = desk.run("push", here, f"lab/{label}", "--json")
    again = desk.run("pull", f"lab/{label}", here, *FLAGS)

    assert (0, 0, held) == (pushed.code, pushed.summary["uploaded"], ground.count(label)), pushed
    assert 0 == again.code, again
    assert again.summary["bytes"] <= len(LARGE) - PIECE, again
    assert [LARGE] == [path.read_bytes() for path in outputs(here)]
    assert {} == desk.run("pull", f"lab/{label}", here, *FLAGS).moved()


def test_a_server_of_2018_refuses_them_before_the_first_byte(tmp_path: Path) -> None:
    switches = {"compat": "core-2018"}
    with Ground2018(tmp_path / "old", groups=("lab",), switches=switches) as ground:
        ground.project("aging")
        desk = Desk(tmp_path / "home", ground.key())

        done = desk.run("pull", "lab/aging", tmp_path / "here", "--metadata", "--analyses")

        complains(done, 2, "--metadata", "--analyses", "2018")
        assert not (tmp_path / "here").exists()


def test_a_layout_without_a_place_for_them_refuses_them(
    ground: Ground, desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    assert 0 == desk.run("push", root, f"lab/{label}").code

    layout = ("--layout", "{sub}/{ses}_{acq}/{file}")
    for others in (layout, ("--no-sessions",)):
        done = desk.run("pull", f"lab/{label}", tmp_path / "here", "--metadata", *others)

        complains(done, 2, "--metadata", "layout")
        assert not (tmp_path / "here").exists()
    plain = ("--layout", "{subject}/{session}/{acquisition}/{file}", "--unpack")
    done = desk.run("pull", f"lab/{label}", tmp_path / "plain", "--metadata", *plain)
    assert 0 == done.code, done

    here = tmp_path / "remembered"
    desk.run("pull", f"lab/{label}", here, *layout)
    there = grown(here)
    complains(desk.run("pull", f"lab/{label}", here, "--metadata"), 2, "--metadata", "layout")
    assert there == grown(here)
