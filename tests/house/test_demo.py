"""The demo, run as a user runs it; and that it notices when something is not equal."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fwsync.demo import scans, server
from fwsync.demo.stage import ActorFailed, Stage
from fwsync.digest import ContentHasher
from fwsync.errors import UsageError

DEMO = (sys.executable, "-m", "fwsync", "demo")
#: Also where Ctrl-C is ignored by whoever runs the tests, as a shell does for `&`.
DEMO_WITH_CTRL_C = (
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from fwsync.__main__ import main; main()",
    "demo",
)

# --------------------------------------------------------------------------------- as a whole


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the demo's temporary folder goes, and nothing else."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def environment(temporary: Path) -> dict[str, str]:
    return os.environ | {"TMPDIR": str(temporary)}


def running_in(temporary: Path) -> list[str]:
    """The command lines of the processes that have this folder in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.fsencode(temporary) in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # gone, or someone else's
            continue
    return found


@pytest.mark.timeout(150)
def test_the_demo_finds_all_files_equal_and_leaves_nothing(temporary: Path) -> None:
    ran = subprocess.run(
        DEMO,
        env=environment(temporary) | {"FWSYNC_SETTLE": "nonsense", "HTTP_PROXY": "http://[::1]:9"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (0, "") == (ran.returncode, ran.stderr), ran.stdout + ran.stderr
    assert "all 90 files equal, byte for byte" in ran.stdout
    assert [] == running_in(temporary)
    assert [] == list(temporary.iterdir())


def play(
    command: tuple[str, ...], temporary: Path, cue: str, act: Callable[[int], None]
) -> tuple[int, str]:
    """Run the demo and do something as soon as it has printed the cue."""
    with subprocess.Popen(
        command,
        env=environment(temporary),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        told = ""
        for line in process.stdout:
            told += line
            if cue in line:
                act(process.pid)
    return process.returncode, told


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_the_demo_leaves_nothing_when_it_is_stopped(
    temporary: Path, number: signal.Signals, code: int
) -> None:
    returned, told = play(DEMO_WITH_CTRL_C, temporary, "scanning", lambda pid: os.kill(pid, number))

    assert code == returned, told
    assert "equal" not in told
    assert [] == running_in(temporary)
    assert [] == list(temporary.iterdir())


@pytest.mark.timeout(150)
def test_the_demo_fails_when_a_byte_is_flipped_on_the_server(
    temporary: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"

    def flip(_: int) -> None:
        blob = max((p for p in (kept / "server").rglob("*") if is_blob(p)), key=size)
        blob.chmod(0o600)
        with blob.open("r+b") as stream:
            stream.seek(size(blob) // 2)
            byte = stream.read(1)[0]
            stream.seek(-1, os.SEEK_CUR)
            stream.write(bytes([byte ^ 1]))

    returned, told = play((*DEMO, "--keep", str(kept)), temporary, "now a late slice", flip)

    assert 1 == returned, told
    assert "difference: fetched: " in told
    assert "files equal" not in told
    assert [] == running_in(kept)
    assert (kept / "server").is_dir()


def is_blob(path: Path) -> bool:
    return path.is_file() and not path.name.startswith("sandbox.db")


def size(path: Path) -> int:
    return path.stat().st_size


# ---------------------------------------------------------------------------------- the scans


def test_the_scans_are_the_real_ones_laid_out_by_their_headers() -> None:
    session = scans.session()

    assert 90 == len(session.scans)
    assert "77654033/1995-09-03 CT, HEAD_BRAIN WO CONTRAST/2 - Routine Brain/17106" in session.scans
    assert "4MR1/2004-08-26 059.5457/1 - MR/MR_small.dcm" in session.scans
    assert {session.late, session.renamed} < session.scans.keys()
    assert session.late.rpartition("/")[0] != session.renamed.rpartition("/")[0]


def test_the_scanner_writes_all_but_the_late_slice(tmp_path: Path) -> None:
    session = scans.session()

    grown = scans.scan(session, tmp_path)

    written = scans.files_below(tmp_path)
    assert 5 < grown < 20
    assert [f"{session.late}: is missing"] == scans.compare(session.scans, written)


# -------------------------------------------------------------------------------- comparisons


def tree(folder: Path, files: dict[str, bytes]) -> dict[str, Path]:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return scans.files_below(folder)


def test_two_trees_are_equal_whatever_fwsync_keeps_in_them(tmp_path: Path) -> None:
    one = tree(tmp_path / "one", {"a/b": b"data", "c": b"", ".fwsync/state.db": b"mine"})
    other = tree(tmp_path / "other", {"a/b": b"data", "c": b""})

    assert [] == scans.compare(one, other)


def test_a_changed_a_missing_and_an_extra_file_are_each_a_difference(tmp_path: Path) -> None:
    big = bytes(scans._CHUNK + 10)
    one = tree(tmp_path / "one", {"big": big, "gone": b"x", "same": b"y", "short": b"123"})
    other = tree(
        tmp_path / "other",
        {"big": big[:-2] + b"\1\0", "more/extra": b"z", "same": b"y", "short": b"12"},
    )

    assert [
        "big: differs from byte 1,048,584 on (1,048,586 and 1,048,586 bytes)",
        "gone: is missing",
        "more/extra: is there, and was never sent",
        "short: differs from byte 2 on (3 and 2 bytes)",
    ] == scans.compare(one, other)


def container(kind: str, name: str, parent: str | None, label: str = "") -> dict[str, Any]:
    return {"kind": kind, "id": name, "parent_id": parent, "label": label, "deleted": None}


def stored(name: str, data: bytes, **other: Any) -> dict[str, Any]:
    hasher = ContentHasher()
    hasher.update(data)
    row = {"container_id": "a", "version": 1, "newest": 1, "deleted": None, "size": len(data)}
    return row | {"name": name, "sha384": hasher.digest.removeprefix("sha384:")} | other


def test_what_is_not_right_on_the_server_is_a_difference_each(tmp_path: Path) -> None:
    names = ("changed", "gone", "once", "twice")
    wanted = tree(tmp_path, {name: name.encode() for name in names})
    containers = [
        container("group", "demo", None, "Demo"),
        container("project", "p", "demo", "scanner"),
        container("subject", "s", "p", "sub"),
        container("session", "e", "s", "ses"),
        container("acquisition", "a", "e", "acq"),
        container("acquisition", "b", "e", "acq"),
        container("acquisition", "c", "e", "other"),
    ]
    files = [
        stored("changed", b"chanked"),
        stored("extra", b"extra"),
        stored("gone", b"gone", deleted="2026-01-01"),
        stored("once", b"once"),
        stored("twice", b"twi", newest=2),
        stored("twice", b"twice", version=2, newest=2),
    ]
    at = "demo/scanner/sub/ses/acq"

    found = server.differences(
        {f"{at}/{name}": path for name, path in wanted.items()},
        server.read({"containers": containers, "files": files}),
    )

    assert [
        f"{at}/changed: has other bytes on the server (7; 7)",
        f"{at}/extra: is on the server, and was never sent",
        f"{at}/gone: is not on the server",
        f"{at}/twice: was stored 2 times; expected once",
        f"{at}: was made 2 times on the server; expected once",
        "demo/scanner/sub/ses/other: was made on the server, and holds nothing that was sent",
    ] == found


# ---------------------------------------------------------------------------------- the stage


def test_a_process_that_fails_is_told_with_the_end_of_its_stderr(tmp_path: Path) -> None:
    with Stage(tmp_path / "kept") as stage:
        actor = stage.start("pull", "demo/scanner", "folder", key="not a key")
        with pytest.raises(ActorFailed) as failed:
            stage.finish(actor, 60)

    assert "fwsync pull: ended with exit code 3; expected 0" == failed.value.message
    assert "is not a Flywheel API key" in failed.value.tail


def test_what_still_runs_is_ended_when_the_stage_is_left(tmp_path: Path) -> None:
    with Stage(tmp_path / "kept") as stage:
        actor = stage.start("sandbox", "--port", "0")

    assert actor.process.returncode is not None


def test_a_folder_that_is_not_empty_is_not_played_in(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()

    with pytest.raises(UsageError), Stage(tmp_path):
        pytest.fail("played")

    assert ["mine"] == [path.name for path in tmp_path.iterdir()]
