"""Settings: three layers, and errors that say which, where, what, and what was expected."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync import policies
from fwsync.config import Arguments, Profile, Settings, load_settings
from fwsync.errors import UsageError
from fwsync.filters import Filters
from fwsync.model import ConflictPolicy, Empty, Links, Mode
from fwsync.setting_values import DeleteCap, parse_duration


def load(
    tmp_path: Path,
    text: str = "",
    *,
    env: dict[str, str] | None = None,
    flags: dict[str, object] | None = None,
) -> Settings:
    (tmp_path / "fwsync.toml").write_text(text)
    home = {"HOME": str(tmp_path / "home")}
    return load_settings(flags or {}, config_file=None, env={**home, **(env or {})}, cwd=tmp_path)


def refused(
    tmp_path: Path,
    text: str = "",
    *,
    env: dict[str, str] | None = None,
    flags: dict[str, object] | None = None,
) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text, env=env, flags=flags)
    assert "\n" not in caught.value.message or "TOML" in caught.value.message
    assert caught.value.__cause__ is None or "settings file" in caught.value.message
    return caught.value


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    settings = load(tmp_path)

    assert Settings() == settings
    assert DeleteCap(100, 50.0) == settings.max_delete
    assert ConflictPolicy.KEEP_BOTH == settings.conflict
    assert settings.patience_s is None


def test_each_layer_overrides_the_one_before(tmp_path: Path) -> None:
    text = 'settle = 1\npatience = 1\ntransfers = 1\nproject = "lab/file"'
    env = {"FWSYNC_PATIENCE": "2", "FWSYNC_TRANSFERS": "2"}

    settings = load(tmp_path, text, env=env, flags={"transfers": 3, "project": None})

    assert (1, 2, 3) == (settings.settle_s, settings.patience_s, settings.transfers)
    assert "lab/file" == settings.project


def test_all_settings_can_be_given_in_the_file(tmp_path: Path) -> None:
    text = """
        api_key_file = "keys/site"
        project = "lab/aging"
        layout = "{subject}/{session}/{acquisition}/{file}"
        settle = "90s"
        patience_s = 60
        transfers = 8
        conflict = "skip"
        create_project = true
        delete_up = true
        delete-down = false
        max_delete = "10%"
        include = ["*.dcm"]
        exclude = ["tmp/", "*.log"]
        delete_reason = "test_data"
        state = "~/state.db"
        settle_max = "1d"
        max_age = "2w"
        min_age = "1h"
        min_size = 1
        max_size = "1.5GiB"
        hidden = false
        links = "follow"
        empty = "report"
        bwlimit = "08:00,1M 18:00,off"
        max_transfer = "10M"
        max_duration = "2h"
        rescan = "1h30m"
        poll = 5.5
        [profiles.aging]
        root = "data"
        project = "lab/aging"
    """
    settings = load(tmp_path, text)

    assert tmp_path / "keys/site" == settings.api_key_file
    assert (90, 60, 86400, 5400, 5.5) == (
        settings.settle_s,
        settings.patience_s,
        settings.settle_max_s,
        settings.rescan_s,
        settings.poll_s,
    )
    assert DeleteCap(None, 10.0) == settings.max_delete
    assert (3600, 14 * 86400) == (settings.min_age_s, settings.max_age_s)
    assert (1, 3 << 29) == (settings.min_size, settings.max_size)
    assert (False, Links.FOLLOW, Empty.REPORT) == (settings.hidden, settings.links, settings.empty)
    assert settings.bwlimit is not None
    assert (None, 10**6) == (settings.bwlimit.rate_at(0), settings.bwlimit.rate_at(600))
    assert (10**7, 7200) == (settings.max_transfer, settings.max_duration_s)
    assert ("tmp/", "*.log") == settings.exclude
    assert tmp_path / "home/state.db" == settings.state
    assert ConflictPolicy.SKIP == settings.conflict
    assert settings.delete_up
    assert Profile(root=tmp_path / "data", project="lab/aging") == settings.profile("aging")
    assert settings.profile("aging") == settings.profile_of(tmp_path / "data")
    assert settings.profile_of(tmp_path) is None


def test_lists_and_switches_can_be_given_in_the_environment(tmp_path: Path) -> None:
    env = {
        "FWSYNC_EXCLUDE": "*.log, tmp/",
        "FWSYNC_INCLUDE": '["a,b", "c"]',
        "FWSYNC_DELETE_UP": "true",
        "FWSYNC_MAX_DELETE": "7,20%",
        "FWSYNC_STATE": "state.db",
        "FWSYNC_SETTLE": "",
    }
    settings = load(tmp_path, "settle = 3", env=env)

    assert ("*.log", "tmp/") == settings.exclude
    assert ("a,b", "c") == settings.include
    assert settings.delete_up
    assert DeleteCap(7, 20.0) == settings.max_delete
    assert tmp_path / "state.db" == settings.state
    assert 3 == settings.settle_s


def test_an_empty_list_on_the_command_line_is_not_given(tmp_path: Path) -> None:
    assert ("x",) == load(tmp_path, 'exclude = ["x"]', flags={"exclude": []}).exclude
    assert ("y",) == load(tmp_path, 'exclude = ["x"]', flags={"exclude": ["y"]}).exclude


def test_the_process_environment_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FWSYNC_SETTLE", "77")
    monkeypatch.setenv("FWSYNC_SETTLE_S", "77")

    assert 30 == load(tmp_path).settle_s
    assert 30 == Settings().settle_s


def test_variables_that_are_no_settings_are_left_alone(tmp_path: Path) -> None:
    env = {"FWSYNC_API_KEY": "h:secret", "FWSYNC_TEST_LIVE": "1", "OTHER": "x"}

    assert Settings() == load(tmp_path, env=env)


def test_files_are_looked_for_in_order(tmp_path: Path) -> None:
    cwd, xdg, home = tmp_path / "cwd", tmp_path / "xdg", tmp_path / "home"
    named = tmp_path / "other.toml"
    for number, path in enumerate(
        [
            named,
            cwd / "fwsync.toml",
            xdg / "fwsync/fwsync.toml",
            home / ".config/fwsync/fwsync.toml",
        ]
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"settle = {number}")
    env = {"HOME": str(home), "XDG_CONFIG_HOME": str(xdg)}

    def settle(config_file: Path | None, env: dict[str, str]) -> float:
        return load_settings({}, config_file=config_file, env=env, cwd=cwd).settle_s

    assert 0 == settle(named, env)
    assert 0 == settle(Path("../other.toml"), env)
    assert 0 == settle(None, {**env, "FWSYNC_CONFIG": str(named)})
    assert 1 == settle(None, env)
    (cwd / "fwsync.toml").unlink()
    assert 2 == settle(None, env)
    assert 3 == settle(None, {"HOME": str(home)})


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no\.toml: there is no such settings file"):
        load_settings({}, config_file=Path("no.toml"), env={}, cwd=tmp_path)


def test_a_file_that_is_not_toml_says_where(tmp_path: Path) -> None:
    error = refused(tmp_path, "settle = \n")

    assert f"{tmp_path}/fwsync.toml: is not valid TOML" in error.message
    assert "line 1" in error.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('settle = "soon"', "settle (from {file}): is 'soon'; expected seconds, as a number or"),
        ("settle = -1", "settle (from {file}): is -1; expected seconds"),
        ("settle = true", "settle (from {file}): is True; expected seconds"),
        ("settle = nan", "settle (from {file}): is nan; expected seconds"),
        ("transfers = 0", "transfers (from {file}): is 0; expected a number from 1 to 64"),
        ("transfers = true", "transfers (from {file}): is True; expected a number from 1 to 64"),
        ('conflict = "mine"', "expected one of keep-both, local, remote, skip, fail"),
        ('max_delete = "many"', "max_delete (from {file}): is 'many'; expected a number, a perc"),
        ('max_delete = "200%"', "is '200%'; expected a number"),
        ("max_delete = {count = 1}", "expected a number, a percentage"),
        ("include = 5", "include (from {file}): is 5; expected a list of patterns"),
        ("include = [5]", "include (from {file}): is 5; expected a list of patterns"),
        ("state = 5", "state (from {file}): is 5; expected a path"),
        ("create_project = 'perhaps'", "is 'perhaps'; expected true or false"),
        ("profiles = 5", "profiles (from {file}): is 5; expected tables with root and project"),
        ("[profiles.a]\nroot = 'x'", "profiles.a.project (from {file}): is missing; expected gro"),
        ("[profiles.a]\nroot = 5\nproject='p'", "profiles.a.root (from {file}): is 5; expected a"),
        ("[profiles]\na = 5", "profiles (from {file}): is 5; expected tables"),
        ("settle = 1\nsettle_s = 2", "settle_s (from {file}): is given twice"),
        ("[[rules]]\nlayout = 5", "rule 1: layout (from {file}): is 5; expected a template"),
        ("[[rules]]\n[[rules]]\nroot_dirs = 99", "rule 2: root_dirs (from {file}): is 99"),
        ("[[metadata]]\ntags = 'x'", "metadata rule 1: match (from {file}): is missing; expected"),
        ("rescan = 0", "rescan (from {file}): is 0; expected seconds"),
        ("poll = 0", "poll (from {file}): is 0; expected seconds"),
        ("[dicom]\nsubject = 5", "dicom.subject (from {file}): is 5; expected a template"),
    ],
)
def test_a_bad_value_says_which_where_what_and_what_else(
    tmp_path: Path, text: str, message: str
) -> None:
    error = refused(tmp_path, text)

    assert message.format(file=tmp_path / "fwsync.toml") in error.message


def test_the_layer_that_is_wrong_is_the_one_that_is_named(tmp_path: Path) -> None:
    error = refused(tmp_path, "settle = 1", env={"FWSYNC_SETTLE": "x"})
    assert error.message.startswith("FWSYNC_SETTLE (from the environment): is 'x'; expected")

    error = refused(tmp_path, "settle = 1", flags={"settle_s": "x"})
    assert error.message.startswith("--settle (from the command line): is 'x'; expected")


def test_what_a_program_gives_is_named_as_it_gave_it(tmp_path: Path) -> None:
    error = refused(tmp_path, flags=Arguments(patience_s="soon"))

    assert error.message.startswith("patience_s (from the call): is 'soon'; expected seconds")


def test_a_typing_error_gets_a_suggestion(tmp_path: Path) -> None:
    error = refused(tmp_path, 'exlude = ["x"]')
    assert f"exlude (from {tmp_path}/fwsync.toml): is not a setting" == error.message
    assert "did you mean exclude?" == error.hint

    error = refused(tmp_path, env={"FWSYNC_TRANSFER": "3"})
    assert "FWSYNC_TRANSFER (from the environment)" in error.message
    assert "did you mean transfers?" == error.hint

    error = refused(tmp_path, "settle = 1\n[profiles.a]\nroot='x'\nprojekt='y'\nproject='z'")
    assert "profiles.a.projekt" in error.message
    assert "did you mean project?" == error.hint

    error = refused(tmp_path, '[[metadata]]\nmach = "*.dcm"\ntags = "x"')
    assert "metadata rule 1: mach (from " in error.message
    assert "did you mean match?" == error.hint

    error = refused(tmp_path, '[[rules]]\npath = "x"\n[[rules]]\nlayuot = "x"')
    assert "rule 2: layuot (from " in error.message
    assert "did you mean layout?" == error.hint


def test_a_flag_is_answered_with_what_flags_are_written_like(tmp_path: Path) -> None:
    for name, value, said in (
        ("pack", ["dicom"], "--pack (from the command line): is 'dicom'; expected a pattern and"),
        ("set_vars", ["x"], "--set-var (from the command line): is 'x'; expected a field and its"),
        ("include", [5], "--include (from the command line): is 5; expected a pattern in"),
        ("scan", "nifti", "--scan (from the command line): is 'nifti'; expected dicom"),
    ):
        assert refused(tmp_path, flags={name: value}).message.startswith(said)
    error = refused(tmp_path, 'pack = ["dicom"]')
    assert "is ['dicom']; expected patterns and file types: {" in error.message


def test_a_setting_is_called_as_it_was_given(tmp_path: Path) -> None:
    env = {"FWSYNC_MIN_AGE": "5m"}
    settings = load(tmp_path, "max-age = 5", env=env, flags={"rules_file": "x", "min_size": 1})

    for name, called in (
        ("max_age_s", "max-age"),
        ("min_age_s", "FWSYNC_MIN_AGE"),
        ("rules_file", "--rules"),
        ("min_size", "--min-size"),
        ("max_size", "--max-size"),
        ("set_vars", "--set-var"),
    ):
        assert called == settings.called(name)
    assert settings.is_for_this_run("min_size")
    assert not settings.is_for_this_run("max_age_s")
    assert not settings.is_for_this_run("max_size")

    called_by_a_program = load(tmp_path, flags=Arguments(min_size=1))
    assert ("min_size", "max_age") == (
        called_by_a_program.called("min_size"),
        called_by_a_program.called("max_age_s"),
    )
    assert called_by_a_program.is_for_this_run("min_size")
    assert Settings(min_size=1) == called_by_a_program


def test_a_key_in_the_settings_is_refused_and_not_shown(tmp_path: Path) -> None:
    error = refused(tmp_path, 'api_key = "fw.example.org:sesame"')

    assert "sesame" not in error.message + error.hint
    assert "fwsync login" in error.hint


def test_an_unknown_profile_gets_a_suggestion(tmp_path: Path) -> None:
    settings = load(tmp_path, "[profiles.aging]\nroot='x'\nproject='p/q'")
    with pytest.raises(UsageError) as caught:
        settings.profile("agin")

    assert "did you mean aging?" == caught.value.hint


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        (".5", 0.5),
        ("1e3", 1000),
        ("90s", 90),
        ("5m", 300),
        ("1.5h", 5400),
        ("1h 30min", 5400),
        ("250ms", 0.25),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert math.isclose(seconds, float(str(parse_duration(text))))


@given(st.text(max_size=8))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        value = parse_duration(text)
    except ValueError:
        return
    assert isinstance(value, float)
    assert value >= 0


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_hours_minutes_and_seconds_add_up(hours: int, minutes: int, seconds: int) -> None:
    assert 3600 * hours + 60 * minutes + seconds == parse_duration(f"{hours}h{minutes}m{seconds}s")


@pytest.mark.parametrize(("cap", "counts_from"), [("50%", 1), ("100,50%", 20), ("7", 20)])
def test_a_share_alone_counts_however_few_files_there_are(cap: str, counts_from: int) -> None:
    settings = Settings.model_validate({"max_delete": cap})

    policy = policies.policy_of(Mode.BOTH, settings, {}, Filters())

    assert counts_from == policy.limits.percent_from
