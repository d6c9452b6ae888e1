"""What a guard holds, as it is remembered from run to run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwsync import holds, policies
from fwsync.config import Recorded, load_settings
from fwsync.flags import FLAGS
from fwsync.guards import Guard
from fwsync.model import ConflictPolicy, Decision, Mode, RelPath, Verb
from fwsync.plan import Plan
from fwsync.state import State, open_state

WAITING = tuple(Decision(Verb.DELETE_REMOTE, RelPath(path)) for path in ("a", "b"))
HELD = Plan((), waiting=WAITING, held=(Guard("too-many-deletions", "two"),), plan_id="made")
NOTHING = Plan(())


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with open_state(tmp_path / "state.db") as state:
        yield state


def test_a_hold_is_not_over_while_a_part_of_the_server_is_not_seen(state: State) -> None:
    holds.keep(state, HELD, Mode.BOTH, 10)
    holds.keep(state, NOTHING, Mode.BOTH, 10, is_whole=False)

    assert holds.read(state) is not None

    holds.keep(state, NOTHING, Mode.BOTH, 10)

    assert holds.read(state) is None


def test_a_hold_of_a_later_fwsync_is_read_as_far_as_it_is_understood(state: State) -> None:
    holds.keep(state, HELD, Mode.BOTH, 10, options=["--delete"])
    text = state.setting("held_plan")
    assert text is not None
    state.set_setting("held_plan", json.dumps(json.loads(text) | {"of_tomorrow": 1}))

    found = holds.read(state)

    assert found is not None
    assert ("made", ["--delete"], 2) == (found.plan_id, found.options, found.waiting)


@pytest.mark.parametrize("done", [0, 1, 2])
def test_consent_to_a_part_is_none_to_the_rest(done: int) -> None:
    left = holds.remaining(HELD, Plan(WAITING[:done]))

    assert (WAITING[done:], done < 2) == (left.waiting, bool(left.held))


def test_what_an_older_plan_held_is_held_where_nothing_is_held_today() -> None:
    assert HELD is holds.remaining(NOTHING, HELD)


def test_the_options_of_a_run_are_told_as_they_are_typed(tmp_path: Path) -> None:
    flags: dict[str, object] = {
        "exclude": ["a b", "*.tmp"],
        "delete_up": True,
        "fsync": False,
        "conflict": ConflictPolicy.FAIL,
        "api_key_file": Path("key"),
    }
    run = {"accept_deletes": "3f9c", "new_root": True}
    settings = load_settings(flags, config_file=None, env={}, cwd=tmp_path)
    both = {"delete_up": True, "delete_down": True, "trash_days": 7}
    saved = load_settings(Recorded(both), config_file=None, env={}, cwd=tmp_path)

    words = policies.words_of(settings, {**flags, **run}, tmp_path / "own.toml")

    key = ["--api-key-file", str(tmp_path / "key")]
    rest = ["--delete-up", "--exclude", "a b", "--exclude", "*.tmp", "--no-fsync"]
    config = ["--config", str(tmp_path / "own.toml")]
    assert [*config, *key, "--conflict", "fail", *rest] == [*words]
    assert ("--delete",) == policies.words_of(saved, Recorded(both), None)


def test_the_settings_of_a_saved_plan_are_told_by_options_that_its_run_has(tmp_path: Path) -> None:
    commands = {Mode.UP: "push", Mode.DOWN: "pull", Mode.BOTH: "sync"}
    own = {"api_key_file", "audit_log", "bwlimit", "fsync", "max_duration", "max_transfer"}
    own |= {"patience", "transfers", "accept_deletes", "new_root", "existing", "delete"}

    for mode, command in commands.items():
        told = {name for name, modes in policies.OF_A_PLAN.items() if mode in modes}
        had = {one.setting for one in FLAGS if command in one.commands} - own

        assert had == {name.removesuffix("_s") for name in told}


def test_the_settings_of_a_saved_plan_mean_the_same_where_they_are_given_again(
    tmp_path: Path,
) -> None:
    recorded = Recorded(
        {
            "max_delete": "3,5%",
            "min_age_s": "2d",
            "set_vars": {"session": "baseline"},
            "ingest_template": "{subject}:{session}",
            "no_subjects": False,
            "hidden": False,
            "state": str(tmp_path / "the.db"),
            "rules": [{"layout": "mirror", "path": "*"}],
        }
    )
    saved = load_settings(recorded, config_file=None, env={}, cwd=tmp_path)

    words = policies.words_of(saved, recorded, None, Mode.UP)

    assert [
        *("--no-hidden", "--ingest-template", "{subject}:{session}", "--max-delete", "3,5%"),
        *("--min-age", "2d", "--set-var", "session=baseline", "--state", str(tmp_path / "the.db")),
    ] == [*words]


def test_what_else_a_run_goes_by_is_told_as_options_of_the_same_run(tmp_path: Path) -> None:
    env = {"FWSYNC_DELETE_UP": "yes", "FWSYNC_STATE": "the.db", "FWSYNC_MAX_DELETE": "5%"}
    env |= {"FWSYNC_EXCLUDE": "*.tmp", "FWSYNC_MIN_AGE": "2d", "FWSYNC_TRASH_DAYS": "3"}
    (tmp_path / "fwsync.toml").write_text("history_days = 3\n")
    settings = load_settings({"exclude": ["*.bak"]}, config_file=None, env=env, cwd=tmp_path)

    words = policies.words_of(settings, {"exclude": ["*.bak"]}, None)

    file, state = str(tmp_path / "fwsync.toml"), str(tmp_path / "the.db")
    own = ["--delete-up", "--exclude", "*.bak", "--max-delete", "5%", "--min-age", "2d"]
    assert ["--config", file, *own, "--state", state] == [*words]
