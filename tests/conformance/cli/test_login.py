"""Logging in with every kind of key, and out again; what is at the top of the site."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conformance.cli.command import Cli
from tests.house.house import Ground

pytestmark = pytest.mark.timeout(120)


@pytest.mark.row(
    "config",
    "version",
    "auth-status",
    "users-self",
    "auth-schemes",
    "auth-device",
    "devices-change",
)
def test_every_kind_of_key_logs_in_and_a_wrong_one_does_not(
    fw: Path, ground: Ground, tmp_path: Path
) -> None:
    device = ground.ask("POST", "/devices", {"label": "scanner-1", "type": "scanner"})
    keys = {
        "admin": ground.key(),
        "device": ground.key(secret=device["key"]),
        "wrong": ground.key(secret="mistyped"),  # not of 57 characters: sent as scitran-user
    }
    homes = {name: Cli(fw, tmp_path / name) for name in keys}

    with ThreadPoolExecutor() as pool:
        runs = {name: pool.submit(cli.run, "login", keys[name]) for name, cli in homes.items()}
    done = {name: run.result() for name, run in runs.items()}

    assert {"admin": 0, "device": 0, "wrong": 1} == {n: one.code for n, one in done.items()}
    assert "You are now logged in as: Ada Admin!\n" == done["admin"].out
    assert f"You are now logged in as: scanner - {device['name']}!\n" == done["device"].out
    for name in ("admin", "device"):
        kept = homes[name].credentials
        assert {"key": keys[name], "root": name == "admin"} == json.loads(kept.read_text()), name
        assert 0o600 == stat.S_IMODE(kept.stat().st_mode)
    assert "Error logging in: (401)" in done["wrong"].err
    assert not homes["wrong"].credentials.exists()


@pytest.mark.row("auth-status", "users-self")
def test_a_login_is_told_and_ends_with_the_logout(user: Cli, ground: Ground) -> None:
    assert (
        f"You are currently logged in as Uma User to 127.0.0.1:{ground.port}:__force_insecure\n"
        == user.good("status")
    )
    assert "You are now logged out.\n" == user.good("logout")
    assert {} == json.loads(user.credentials.read_text())
