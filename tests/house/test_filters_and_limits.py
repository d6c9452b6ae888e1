"""Filters and limits, as they are typed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.house.house import SOME, Desk, Ground, complains, plant, stop_watch, until

ODD = {
    **SOME,
    "sub-01/ses-01/t1/.hidden": b"h",
    "sub-01/ses-01/t1/empty": b"",
    "sub-01/ses-01/t1/large": b"l" * 5000,
    "sub-01/ses-01/t1/scratch.raw": b"raw",
}
NAMES = {path.rpartition("/")[2] for path in ODD}


def planned(desk: Desk, root: Path, label: str, *flags: str) -> set[str]:
    """The names of what a push would send."""
    done = desk.run("plan", "push", root, f"lab/{label}", "--create-project", "--json", *flags)
    steps = [line for line in done.lines if line["event"] == "decision"]

    return {line["path"].rpartition("/")[2] for line in steps}


@pytest.mark.parametrize(
    ("flags", "left_out"),
    [
        ([], set()),
        (["--hidden"], set()),
        (["--no-hidden"], {".hidden"}),
        (["--no-hidden", "--exclude", "!.hidden"], set()),
        (["--empty", "skip"], {"empty"}),
        (["--min-size", "1"], {"empty"}),
        (["--max-size", "4.5k"], {"large"}),
        (["--max-size", "5kB"], set()),
        (["--max-size", "4KiB", "--min-size", "3b"], {"large", "empty", ".hidden"}),
        (["--min-age", "1d"], NAMES - {"2.dcm"}),
        (["--max-age", "1w"], {"2.dcm"}),
    ],
)
def test_each_filter_leaves_out_what_it_says(
    flags: list[str], left_out: set[str], desk: Desk, label: str, root: Path
) -> None:
    plant(root, ODD)
    os.utime(root / "sub-01/ses-01/t1/2.dcm", (1_500_000_000, 1_500_000_000))

    assert NAMES - left_out == planned(desk, root, label, *flags)


def test_verify_compares_only_what_takes_part(desk: Desk, label: str, root: Path) -> None:
    assert 0 == desk.run("sync", root, f"lab/{label}").code
    first, second, held = SOME
    plant(root, {first: b"edited", second: b"edited, too"})
    (root / held).unlink()

    whole = desk.run("verify", root, "--json")
    some = desk.run("verify", root, "--json", "--exclude", second, "--exclude", held)
    none = desk.run("verify", root, "--include", "*.no such")

    assert {first, second, held} == {line["path"] for line in whole.lines[:-1]}, whole
    assert (1, {first}) == (some.code, {line["path"] for line in some.lines[:-1]}), some
    assert (0, "verify: in step") == (none.code, none.out[:15]), none


def test_patterns_in_the_tree_keep_back_what_they_name(
    desk: Desk, ground: Ground, label: str, root: Path
) -> None:
    plant(root, ODD)
    (root / ".fwsyncignore").write_text("*.raw\n.*\n", encoding="utf-8")
    (root / "sub-01" / ".fwsyncignore").write_text("/ses-01/t1/large\n!.hidden\n", encoding="utf-8")
    done = desk.run("push", root, f"lab/{label}", "--create-project", "--json")

    assert 0 == done.code, done
    assert 5 == done.summary["uploaded"] == ground.count(label)
    assert NAMES - {"scratch.raw", "large"} == {
        line["path"].rpartition("/")[2] for line in done.lines if line["event"] == "file"
    }


def test_patterns_that_cannot_be_read_are_a_problem_and_send_nothing(
    desk: Desk, ground: Ground, label: str, root: Path
) -> None:
    plant(root, ODD)
    (root / "sub-01" / ".fwsyncignore").write_bytes(b"caf\xe9")
    done = desk.run("push", root, f"lab/{label}", "--create-project")

    assert 1 == done.code, done
    assert "problem: sub-01: .fwsyncignore cannot be used (it is not UTF-8)" in done.out
    assert 1 == ground.count(label)


def test_empty_files_can_be_reported(desk: Desk, label: str, root: Path) -> None:
    plant(root, ODD)
    done = desk.run("push", root, f"lab/{label}", "--create-project", "--empty", "report")

    assert 1 == done.code, done
    assert "sub-01/ses-01/t1/empty: is empty (--empty send takes it along)" in done.out


def test_links_are_followed_where_asked_and_only_up(
    desk: Desk, ground: Ground, label: str, root: Path
) -> None:
    plant(root, SOME)
    (root / "sub-03").symlink_to("sub-02")
    (root / "away").symlink_to("/etc")
    done = desk.run("push", root, f"lab/{label}", "--create-project", "--links", "follow")

    assert 0 == done.code, done
    assert "left out: away is a symbolic link with an absolute target" in done.err
    assert 4 == ground.count(label)

    complains(
        desk.run("watch", root, f"lab/{label}", "--mode", "both", "--links", "follow"),
        2,
        "nothing is written through a link",
    )


def test_a_run_that_may_move_so_much_says_what_is_left(
    desk: Desk, ground: Ground, label: str, root: Path
) -> None:
    plant(root, ODD)
    push = ("push", root, f"lab/{label}", "--create-project")
    done = desk.run(*push, "--max-transfer", "1", "--transfers", "1", "--json")

    assert 1 == done.code, done
    assert len(ODD) == done.summary["left"] + done.summary["uploaded"]
    assert 0 < done.summary["left"]

    done = desk.run(*push, "--max-duration", "1ms")

    assert 1 == done.code, done
    assert "as --max-duration was reached; run it again to go on" in done.out

    done = desk.run(*push, "--json")

    assert (0, 0) == (done.code, done.summary["left"]), done
    assert len(ODD) == ground.count(label)


def test_a_bandwidth_is_kept(desk: Desk, label: str, root: Path) -> None:
    plant(root, {"s/e/a/x": bytes(300_000)})
    done = desk.run(
        *("push", root, f"lab/{label}", "--create-project", "--json", "--bwlimit", "300k")
    )

    assert 0 == done.code, done
    assert done.summary["seconds"] >= 0.9  # but for the first tenth of a second


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--bwlimit", "fast"], "--bwlimit"),
        (["--bwlimit", "25:00,1M"], "08:00,1M 18:00,off"),
        (["--max-transfer", "some"], "1.5GiB"),
        (["--max-duration", "long"], "1h30m"),
        (["--max-transfer", "0"], "not 0"),
        (["--max-duration", "0s"], "not 0"),
        (["--min-size", "-1"], "--min-size"),
        (["--max-age", "old"], "30d"),
        (["--min-size", "2k", "--max-size", "1k"], "no file takes part"),
        (["--min-age", "2d", "--max-age", "1d"], "no file takes part"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    flags: list[str], said: str, desk: Desk, label: str, root: Path
) -> None:
    plant(root, SOME)
    complains(desk.run("push", root, f"lab/{label}", *flags), 2, said, hint=False)

    assert not (root / ".fwsync").exists()


def test_a_watch_goes_on_without_the_limits_of_a_run(
    desk: Desk, ground: Ground, label: str, root: Path
) -> None:
    plant(root, SOME)
    settings = desk.home / "fwsync.toml"
    desk.home.mkdir(exist_ok=True)
    settings.write_text('max_transfer = 1\nmax_duration = "1s"\n', encoding="utf-8")
    process = desk.start(
        *("watch", root, f"lab/{label}", "--create-project", "--settle", "0", "--config", settings)
    )
    until(lambda: ground.count(label) == len(SOME), what="all is sent")
    done = stop_watch(process)

    assert 0 == done.code, done
    assert "max_transfer and max_duration are for one run" in done.err


def test_patterns_that_may_not_be_read_keep_their_folder_back(
    ground: Ground, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = plant(tmp_path / "root", {"a/s/t/x": b"x", "b/s/t/y": b"y"})
    for path in (root, *root.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    (root / "a" / ".fwsyncignore").touch(mode=0)

    done = desk.run("push", root, f"lab/{label}", "--json", as_user=os.geteuid() == 0)

    assert done.code == 1, done
    assert ["a"] == [one["path"] for one in done.lines if one["event"] == "problem"]
    assert ["b/s/t/y"] == [one.path for one in ground.stored(label)]
