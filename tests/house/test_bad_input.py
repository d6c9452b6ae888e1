"""Whatever is wrong is said in two lines, with the documented exit code; nothing is lost."""

from __future__ import annotations

import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

import fwsync
from fwsync.sandbox import TlsSettings
from fwsync.state import open_state
from tests.house.house import (
    SOME,
    SUMMARY,
    Desk,
    Ground,
    check_state,
    complains,
    expected_record,
    finish,
    grounded,
    grown,
    held,
    plant,
    record_of,
    some_tree,
    until,
)
from tests.house.wire import Relay

NUMBERS = count(1)


# ------------------------------------------------------------------------------- key and host


@pytest.mark.parametrize("command", ["push", "pull", "plan", "ls", "watch"])
def test_a_wrong_key_is_an_error_of_the_key(
    command: str, ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    desk.key = ground.key(secret="k" + "0" * 56)
    target = f"lab/{label}"
    args: dict[str, tuple[str | Path, ...]] = {
        "push": ("push", root, target),
        "pull": ("pull", target, root.with_name("other")),
        "plan": ("plan", "push", root, target),
        "ls": ("ls", target),
        "watch": ("watch", root, target),
    }

    complains(desk.run(*args[command]), 3, "401", "key")
    assert SOME == grown(root)


def test_no_key_is_an_error_that_names_where_keys_come_from(desk: Desk, root: Path) -> None:
    desk.key = ""

    complains(desk.run("push", root, "lab/aging"), 3, "FWSYNC_API_KEY", "fwsync login")


@pytest.mark.parametrize("text", ["nonsense", "host:", "a:b:c:d:e", "host:port:secretsecret"])
def test_what_is_no_key_is_not_repeated(text: str, desk: Desk, root: Path) -> None:
    desk.key = text
    done = desk.run("push", root, "lab/aging")

    complains(done, 3, "FWSYNC_API_KEY")
    assert "secretsecret" not in done.err


def test_a_port_where_nobody_listens_is_an_unavailable_server(
    ground: Ground, desk: Desk, root: Path
) -> None:
    with closing(socket.socket()) as taken:  # bound and not listening: refused
        taken.bind(("127.0.0.1", 0))
        desk.key = ground.key(port=taken.getsockname()[1])
        done = desk.run("push", root, "lab/aging", "--patience", "2")

    complains(done, 5, "127.0.0.1", "refused")


def test_a_host_that_does_not_answer_is_an_unavailable_server(
    ground: Ground, desk: Desk, root: Path
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        desk.key = ground.key(port=silent.getsockname()[1])
        done = desk.run("push", root, "lab/aging", "--patience", "2", within_s=30)

    complains(done, 5, "127.0.0.1", hint=False)


def test_a_host_that_has_no_address_is_an_unavailable_server(desk: Desk, root: Path) -> None:
    desk.key = "no-such-host.invalid:0123456789abcdef"

    complains(desk.run("push", root, "lab/aging", "--patience", "1"), 5, "no-such-host.invalid")


@pytest.mark.parametrize(
    ("tls", "trusted", "said"),
    [
        (TlsSettings(hostname="other.example"), True, "made for"),
        (TlsSettings(expires=datetime.now(UTC) - timedelta(days=1)), True, "renewed"),
        (TlsSettings(), False, "FW_SSL_CERT_FILE"),
    ],
    ids=["wrong host", "expired", "unknown CA"],
)
def test_a_certificate_that_is_not_valid_is_named_with_its_cause(
    tls: TlsSettings, trusted: bool, said: str, tmp_path: Path, root: Path
) -> None:
    with grounded(tmp_path / "sandbox", tls=tls) as ground:
        desk = Desk(tmp_path / "home", ground.sandbox.api_key)
        if trusted:
            desk.env["FW_SSL_CERT_FILE"] = str(ground.sandbox.ca_file)
        done = desk.run("push", root, "lab/aging", within_s=20)

    complains(done, 5, "certificate", said)


# --------------------------------------------------------------------- projects and permissions


def test_a_project_that_does_not_exist_is_an_error_with_the_nearest_names(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    complains(desk.run("push", root, f"lab/{label}x"), 2, f"lab/{label}x", f"lab/{label}")
    assert [] == record_of(ground, f"{label}x")


def test_a_group_is_never_made(ground: Ground, desk: Desk, root: Path) -> None:
    before = ground.ask("GET", "/groups")

    complains(desk.run("push", root, "nobody/aging", "--create-project"), 2, "nobody")
    assert before == ground.ask("GET", "/groups")


def test_pull_does_not_make_a_project(desk: Desk, tmp_path: Path) -> None:
    complains(desk.run("pull", "lab/not-there", tmp_path / "new"), 2, "lab/not-there")


def test_a_project_that_the_key_may_not_see_is_an_error(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    desk.key = ground.user_key()

    complains(desk.run("push", root, f"lab/{label}"), 3, label)
    assert [] == record_of(ground, label)


def test_a_user_who_may_only_read_sends_nothing(
    ground: Ground, desk: Desk, tmp_path: Path, root: Path
) -> None:
    label = f"read-only-{next(NUMBERS)}"
    ground.allow(ground.project(label), "ro")
    desk.key = ground.user_key()
    done = desk.run("push", root, f"lab/{label}", "--json")

    complains(done, 3, "may not write there")
    assert [] == record_of(ground, label)
    assert 0 == desk.run("pull", f"lab/{label}", tmp_path / "new").code


# ------------------------------------------------------------------------- roots and settings


@pytest.mark.parametrize("command", ["push", "watch", "sync", "plan"])
@pytest.mark.parametrize("what", ["file", "gone"])
def test_a_root_that_is_no_folder_is_an_error(
    command: str, what: str, desk: Desk, label: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    if what == "file":
        root.write_text("content")
    args = ("plan", "push") if command == "plan" else (command,)

    complains(desk.run(*args, root, f"lab/{label}"), 2, str(root), hint=what == "gone")
    assert (what == "gone") != root.exists()


def test_a_destination_that_is_a_file_is_an_error(desk: Desk, label: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")

    complains(desk.run("pull", f"lab/{label}", tmp_path / "file"), 2, "file", hint=False)
    assert "content" == (tmp_path / "file").read_text()


def test_a_root_that_has_lost_its_marker_is_not_an_empty_root(
    desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    """An unmounted disk leaves an empty folder."""
    state = tmp_path / "state.db"
    push = ("push", root, f"lab/{label}", "--state", state)

    assert 0 == desk.run(*push).code

    shutil.rmtree(root)
    root.mkdir()

    complains(desk.run(*push), 4, str(root), "mount")


def test_neither_is_it_to_a_state_of_an_older_fwsync(
    desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state.db"
    push = ("push", root, f"lab/{label}", "--state", state)
    assert 0 == desk.run(*push).code
    as_schema_1(state)
    shutil.rmtree(root)
    root.mkdir()

    complains(desk.run(*push), 4, str(root), "mount")

    assert [] == list(root.iterdir())


def test_who_only_looks_takes_a_state_of_an_older_fwsync_and_leaves_it_as_it_is(
    desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state.db"
    where = (f"lab/{label}", "--state", state)
    assert 0 == desk.run("push", root, *where).code
    as_schema_1(state)
    before = state.read_bytes()

    assert 0 == desk.run("plan", "push", root, *where).code
    assert 0 == desk.run("verify", root, "--state", state).code
    assert 0 == desk.run("status", root, "--state", state).code

    assert before == state.read_bytes()


def as_schema_1(file: Path) -> None:
    """Put a state of the first fwsync in the place of one: it has its settings."""
    folder = Path(fwsync.__file__).parent / "state.db"
    first = min(folder.glob("0*.sql"), key=lambda one: one.name)
    with closing(sqlite3.connect(file)) as db:
        settings = db.execute("SELECT * FROM setting").fetchall()
    file.unlink()
    older = file.with_name("older")
    older.mkdir()
    shutil.copy(first, older)
    with open_state(file, migrations=older) as state:
        for key, value in settings:
            state.set_setting(key, value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("transferz = 3\n", ("transferz", "transfers")),
        ('transfers = "many"\n', ("transfers", "1 to 64")),
        ("transfers = \n", ("TOML", "line 1")),
        ("settle = -1\n", ("settle", "seconds")),
        ('api_key = "host:secretsecret"\n', ("api_key", "fwsync login")),
    ],
)
@pytest.mark.parametrize("named", [True, False], ids=["--config", "in the folder"])
def test_settings_that_are_wrong_name_the_key_and_what_was_expected(
    text: str, said: tuple[str, ...], named: bool, desk: Desk, root: Path
) -> None:
    desk.home.mkdir()
    file = desk.home / "fwsync.toml"
    file.write_text(text)
    args = ("--config", file) if named else ()
    done = desk.run("push", root, "lab/aging", *args)

    complains(done, 2, "fwsync.toml", *said, hint=False)
    assert "secretsecret" not in done.err


def test_a_settings_file_that_is_not_there_is_an_error(desk: Desk, root: Path) -> None:
    complains(
        desk.run("push", root, "lab/aging", "--config", "none.toml"), 2, "none.toml", hint=False
    )


@pytest.mark.parametrize(
    "args",
    [
        ("push",),
        ("pusch", "x"),
        ("push", ".", "lab/x", "--no-such-flag"),
        ("push", ".", "lab/x", "--transfers", "0"),
        ("push", ".", "lab/x", "--transfers", "x"),
        ("push", ".", "lab/x", "--transfers", "65"),
        ("push", ".", "lab/x", "--max-delete", "101%"),
        ("push", ".", "lab/x", "--layout", "{nonsense}"),
        ("push", ".", "lab/x", "--conflict", "nonsense"),
        ("watch", ".", "lab/x", "--settle", "-1"),
        ("push", ".", "lab/x/y"),
        ("push", "."),
        ("plan",),
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_a_usage_error(args: tuple[str, ...], desk: Desk) -> None:
    done = desk.run(*args)

    assert 2 == done.code, done
    assert "Traceback" not in done.err
    assert done.out + done.err


# ---------------------------------------------------------------------------------- signals


@pytest.mark.parametrize(
    ("number", "codes"),
    # A process that dies of SIGTERM is 143 to its shell, and -15 here.
    [(signal.SIGINT, (130,)), (signal.SIGTERM, (143, -signal.SIGTERM))],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_push_that_is_stopped_leaves_a_state_that_goes_on(
    number: signal.Signals,
    codes: tuple[int, ...],
    ground: Ground,
    relay: Relay,
    desk: Desk,
    label: str,
    tmp_path: Path,
) -> None:
    tree = some_tree(6, small=60)
    root = plant(tmp_path / "root", tree)
    process = held(ground, relay, desk, root, label)
    process.send_signal(number)
    done = finish(process, 20)

    assert done.code in codes, done
    assert "Traceback" not in done.err, done
    sent = ground.count(label)
    assert 0 < sent < len(tree)

    ground.run(relay.limit())
    again = desk.run("push", root, "--json")

    assert 0 == again.code, again
    # A file that had come through whole may be stored a moment after the client is gone.
    assert again.summary["uploaded"] <= len(tree) - sent
    assert expected_record(tree) == record_of(ground, label)
    check_state(root)


# ------------------------------------------------------------------------- output and secrets


def test_the_last_json_line_is_the_summary_with_all_keys(
    desk: Desk, label: str, root: Path, tmp_path: Path
) -> None:
    runs = [
        desk.run("push", root, f"lab/{label}", "--json"),
        desk.run("push", root, "--json"),
        desk.run("pull", f"lab/{label}", tmp_path / "new", "--json"),
    ]

    assert [0, 0, 0] == [done.code for done in runs]
    assert [[], [], []] == [[key for key in SUMMARY if key not in one.summary] for one in runs]
    assert 3 == runs[0].summary["uploaded"]
    assert 3 == runs[2].summary["downloaded"]


def test_the_key_is_nowhere_but_in_its_file(
    ground: Ground, relay: Relay, desk: Desk, label: str, tmp_path: Path
) -> None:
    tree = some_tree(8, small=30)
    root, key_file = plant(tmp_path / "root", tree), tmp_path / "key"
    key_file.touch(mode=0o600)
    key_file.write_text(ground.key(port=relay.port))
    desk.key = ""
    ground.run(relay.limit(up=3 << 20))
    args = ("--api-key-file", key_file, "--json", "--transfers", "2")
    process = desk.start("push", root, f"lab/{label}", *args)
    until(relay.stalled.is_set, what="the push is under way")
    seen = b"".join(
        Path(f"/proc/{process.pid}/{name}").read_bytes() for name in ("cmdline", "comm", "environ")
    )
    lying = [path.read_bytes() for path in (root / ".fwsync").rglob("*") if path.is_file()]
    ground.run(relay.limit())
    texts = [finish(process)]
    texts.append(desk.run("pull", f"lab/{label}", tmp_path / "new", *args))
    texts.append(desk.run("push", root, "lab/not-there", *args))
    texts.append(desk.run("status", root, "--json"))
    texts.append(desk.run("ls", "lab/none", "--api-key-file", key_file))
    key_file.write_text(ground.key(secret="wrong" + ground.secrets[0].decode()))
    texts.append(desk.run("push", root, f"lab/{label}", *args))

    assert [0, 0, 2, 0, 2, 3] == [done.code for done in texts], texts
    said = "".join(done.out + done.err for done in texts).encode()
    lying += [
        path.read_bytes()
        for top in (root / ".fwsync", tmp_path / "new", desk.home)
        for path in top.rglob("*")
        if path.is_file()
    ]
    places = {"said": said, "process": seen, "files": b"".join(lying)}
    assert [] == [
        place for place, text in places.items() for secret in ground.secrets if secret in text
    ]


def test_a_reader_that_goes_away_ends_nothing(
    ground: Ground, desk: Desk, label: str, root: Path
) -> None:
    """``fwsync push … --json | head -1``: the files go all the same."""
    shell = '"$0" -m fwsync push "$1" "$2" --json 2>err | head -c 1'
    command = ["sh", "-c", shell, sys.executable, str(root), f"lab/{label}"]
    environment = desk.environment()
    subprocess.run(command, env=environment, cwd=desk.home, check=True, timeout=30)

    assert expected_record(SOME) == record_of(ground, label)
    assert "Traceback" not in (desk.home / "err").read_text()


@pytest.mark.parametrize("name", ["FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"])
def test_a_pipe_gets_plain_text_whatever_the_environment_says(name: str, desk: Desk) -> None:
    desk.env[name] = "1"
    wrong, asked = desk.run("ls", "--no-such-option"), desk.run("sandbox", "--help")

    assert (2, 0) == (wrong.code, asked.code)
    assert "--no-such-option" in wrong.err
    assert "--faults" in asked.out
    assert "\x1b" not in wrong.err + asked.out


def test_the_list_of_commands_says_all_of_each_in_a_pipe(desk: Desk) -> None:
    said = " ".join(desk.run("--help").out.split())

    assert (
        "Send a folder's files to a project, once; what is there already is not sent again." in said
    )


@pytest.mark.parametrize("command", [("push",), ("sync",), ("plan", "push")])
def test_a_project_in_the_folders_place_is_told_the_order(
    command: tuple[str, ...], desk: Desk, label: str, root: Path
) -> None:
    done = desk.run(*command, f"lab/{label}", root)

    complains(
        done, 2, "no such directory", f"the folder comes first here, then the project: {root}"
    )
