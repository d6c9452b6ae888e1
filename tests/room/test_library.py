"""The public face: what programs may count on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

import fwsync
from fwsync.config import Settings
from fwsync.flags import FLAGS
from fwsync.library import Options
from tests.room.rooms import Ground, at_home, grown, key_file, plant

TREE = {"s/e/a/x": b"x", "top.json": b"{}"}


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """These functions are called with no loop that could be blocked: each runs one of its own."""


@pytest.fixture
def options(server: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    at_home(tmp_path, monkeypatch)
    key = key_file(tmp_path, server.sandbox.api_key)
    return Options(api_key_file=key, patience_s=5)


def test_the_public_names_are_these() -> None:
    assert [
        "AuthError",
        "ConflictPolicy",
        "FwsyncError",
        "Halted",
        "LocalError",
        "Problem",
        "RemoteError",
        "Report",
        "Unavailable",
        "UsageError",
        "__version__",
        "pull",
        "push",
        "sync",
        "verify",
    ] == sorted(fwsync.__all__)
    assert sorted(fwsync.__all__) == dir(fwsync)
    for name in fwsync.__all__:
        assert getattr(fwsync, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fwsync.nothing


def test_importing_it_costs_next_to_nothing() -> None:
    heavy = ("aiohttp", "pydantic", "typer", "watchdog", "sqlite3", "pydicom", "tqdm", "asyncio")
    program = f"import sys, fwsync; print([one for one in {heavy} if one in sys.modules])"

    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    assert "[]\n" == done.stdout


async def test_a_tree_goes_up_comes_down_and_is_verified(
    server: Ground, options: Options, tmp_path: Path
) -> None:
    here, there = plant(tmp_path / "here", TREE), tmp_path / "there"

    pushed = await asyncio.to_thread(fwsync.push, here, "lab/aging", **options)
    pulled = await asyncio.to_thread(fwsync.pull, "lab/aging", there, **options)
    synced = await asyncio.to_thread(fwsync.sync, str(here), **options)
    verified = await asyncio.to_thread(fwsync.verify, there, deep=True, **options)

    assert [fwsync.Report] * 4 == [type(one) for one in (pushed, pulled, synced, verified)]
    assert (2, 2) == (pushed.uploaded, pulled.downloaded)
    assert all(one.ok for one in (pushed, pulled, synced, verified))
    assert ["push", "pull", "sync", "verify"] == [
        one.command for one in (pushed, pulled, synced, verified)
    ]
    assert TREE == grown(there) == await server.held()
    assert {"lab/aging"} == {one.remote for one in (pushed, pulled, synced, verified)}


async def test_a_pull_without_a_folder_makes_one_named_like_the_project(
    server: Ground, options: Options, tmp_path: Path
) -> None:
    await server.put(TREE)

    await asyncio.to_thread(fwsync.pull, "lab/aging", **options)

    assert TREE == grown(tmp_path / "aging")


def test_every_option_of_the_library_is_a_setting_and_those_of_a_pull_are_there() -> None:
    shown = {one.setting for one in FLAGS if "pull" in one.commands}
    packs = {"pack", "pack_folders", "pack_acquisitions"}
    places = packs | {"no_subjects", "no_sessions", "root_dirs"}
    fields = Settings.model_fields.keys()
    mine = Options.__annotations__.keys()
    named = {one if one in fields else f"{one}_s" for one in shown - places - {"delete"}}

    # A plan's id is no setting, and neither is a new folder: they are said to one run.
    assert {"accept_deletes", "new_root"} == mine - fields
    assert set() == {one for one in named if one in fields} - mine


async def test_metadata_come_down_for_programs_too(
    server: Ground, options: Options, tmp_path: Path
) -> None:
    await server.put(TREE)
    there, options["metadata_files"], options["fsync"] = tmp_path / "there", True, False

    report = await asyncio.to_thread(fwsync.pull, "lab/aging", there, **options)

    assert report.sidecars == len([one for one in grown(there) if one.endswith(".flywheel.json")])
    assert "s/e/a/x.flywheel.json" in grown(there)


async def test_verify_tells_what_differs_and_changes_nothing(
    server: Ground, options: Options, tmp_path: Path
) -> None:
    here = plant(tmp_path / "here", TREE)
    await asyncio.to_thread(fwsync.push, here, "lab/aging", **options)
    plant(here, {"s/e/a/x": b"edited"})
    state = (here / ".fwsync/state.db").read_bytes()

    report = await asyncio.to_thread(fwsync.verify, here, **options)

    assert ["s/e/a/x"] == [one.path for one in report.difference_list]
    assert not report.ok
    assert TREE == await server.held()
    assert state == (here / ".fwsync/state.db").read_bytes()


async def test_problems_are_in_the_report(server: Ground, options: Options, tmp_path: Path) -> None:
    here = plant(tmp_path / "here", {**TREE, "far/too/deep/for/a/file": b"1"})

    report = await asyncio.to_thread(fwsync.push, here, "lab/aging", **options)

    assert ["far/too/deep/for/a/file"] == [one.path for one in report.problem_list]
    assert 2 == report.uploaded
    assert not report.ok


async def test_what_ends_a_run_is_raised(server: Ground, options: Options, tmp_path: Path) -> None:
    here = plant(tmp_path / "here", TREE)
    wrong = tmp_path / "wrong"
    wrong.write_text(options_key(options)[:-3] + "xyz")
    wrong.chmod(0o600)
    odd, unknown = options.copy(), options.copy()
    odd["layout"], unknown["api_key_file"] = "{nonsense}", wrong

    with pytest.raises(fwsync.UsageError):
        await asyncio.to_thread(fwsync.push, tmp_path / "nowhere", "lab/aging", **options)
    with pytest.raises(fwsync.UsageError):
        await asyncio.to_thread(fwsync.push, here, "lab/nothing", **options)
    with pytest.raises(fwsync.UsageError):
        await asyncio.to_thread(fwsync.push, here, **options)
    with pytest.raises(fwsync.UsageError):
        await asyncio.to_thread(fwsync.sync, here, "lab/aging", **odd)
    with pytest.raises(fwsync.AuthError):
        await asyncio.to_thread(fwsync.push, here, "lab/aging", **unknown)

    assert {} == await server.held()


async def test_an_argument_that_is_not_known_is_named_as_it_was_written(
    options: Options, tmp_path: Path
) -> None:
    odd = {**options, "patiense": 3}
    with pytest.raises(fwsync.UsageError) as caught:
        await asyncio.to_thread(fwsync.pull, "lab/aging", tmp_path / "new", **odd)  # type: ignore[arg-type]  # that is it

    assert "patiense (from the call): is not a setting" == caught.value.message
    assert "did you mean patience_s?" == caught.value.hint


def options_key(options: Options) -> str:
    return Path(options["api_key_file"]).read_text()


async def test_a_server_that_is_not_there_is_unavailable(options: Options, tmp_path: Path) -> None:
    key = tmp_path / "away"
    key.write_text("127.0.0.1:9:__force_insecure:" + "k" * 57)
    key.chmod(0o600)
    away = Options(api_key_file=key, patience_s=0.1)

    with pytest.raises(fwsync.Unavailable):
        await asyncio.to_thread(fwsync.push, plant(tmp_path / "here", TREE), "lab/aging", **away)
