"""Data folders of older versions are taken over, those of newer ones are refused."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fwsync.errors import StateTooNew
from fwsync.sandbox import running_sandbox
from fwsync.sandbox.kept.records import APPLICATION_ID, SCHEMA
from tests.sandbox.api import client

CONTENT = b"kept since the first version"
SHA384 = hashlib.sha384(CONTENT).hexdigest()
THEN = "2026-01-02T03:04:05.000000+00:00"
P, S, E, A, F = (f"{number:024x}" for number in range(1, 6))


def first_version(folder: Path) -> None:
    """A data folder as the first version left it: one file in one acquisition."""
    blob = folder / "blobs" / SHA384[:2] / SHA384[2:]
    blob.parent.mkdir(parents=True)
    blob.write_bytes(CONTENT)
    with closing(sqlite3.connect(folder / "sandbox.db")) as db:
        db.executescript(SCHEMA[0].read_text("utf-8"))
        db.execute("INSERT INTO settings VALUES ('device_secret', 'secret'), ('machine', '7')")
        for user, root in (("admin@sandbox.local", 1), ("user@sandbox.local", 0)):
            row = (user, f"key-of-{user}".ljust(57, "x"), "First", "Last", root, THEN)
            db.execute("INSERT INTO users VALUES (?,?,?,?,?,?)", row)
        way: list[str | None] = ["grp", None, None, None]
        containers = (("group", "grp"), ("project", P), ("subject", S), ("session", E))
        for level, (kind, made) in enumerate((*containers, ("acquisition", A))):
            parent = way[level - 1] if level else None
            if level < 4:
                way[level] = made
            db.execute(
                "INSERT INTO containers VALUES (?,?,?,?,?,?,?,?,?,?,NULL,1,'{}')",
                (made, kind, kind, parent, *way, THEN, THEN),
            )
        doc = '{"info": {"a": 1}, "tags": []}'
        what = ("object", "text", "text/plain", len(CONTENT), SHA384, '{"type":"user","id":"x"}')
        db.execute(
            "INSERT INTO files VALUES (?,?,'acquisition',?,?,?,?,'a.txt',1,?,?,?,?,?,?,?,?,NULL,"
            "NULL,?)",
            (F, A, *way, *what, THEN, THEN, doc),
        )
        db.execute("INSERT INTO versions VALUES (1,?,1,?,?,?,?,?,?,?,?)", (F, *what, THEN, doc))
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("PRAGMA user_version = 1")
        db.commit()


async def test_a_folder_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    first_version(tmp_path)

    async with running_sandbox(tmp_path) as sandbox:
        assert ":key-of-admin@sandbox.local" in sandbox.api_key
        assert sandbox.device_secret == "secret"
        async with client(sandbox.url, sandbox.api_key) as api:
            found = await api.post(
                "/lookup",
                {"path": ["grp", "project", "subject", "session", "acquisition", "files", "a.txt"]},
            )
            content = await api.ask("GET", f"/files/{F}/download")
            (again,) = await api.upload(f"acquisitions/{A}", {"a.txt": b"newer"})
            me = await api.get("/users/self")

    assert (found["file_id"], found["hash"]) == (F, f"v0-sha384-{SHA384}")
    assert found["parents"]["acquisition"] == A
    assert content.body == CONTENT
    assert (again["file_id"], again["version"]) == (F, 2)
    assert me["_id"] == "admin@sandbox.local"


async def test_a_folder_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    async with running_sandbox(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "sandbox.db")) as db:
        db.execute(f"PRAGMA user_version = {len(SCHEMA) + 1}")

    with pytest.raises(StateTooNew, match="made by a newer fwsync"):
        async with running_sandbox(tmp_path):
            pass


async def test_the_old_server_is_given_short_keys_and_both_kinds_stay_valid(tmp_path: Path) -> None:
    async with running_sandbox(tmp_path) as today:
        long = today.api_key.rpartition(":")[2]
    async with running_sandbox(tmp_path, switches={"compat": "core-2018"}) as old:
        short = old.api_key.rpartition(":")[2]
    async with running_sandbox(tmp_path, switches={"compat": "core-2018"}) as again:
        assert again.api_key.rpartition(":")[2] == short
    async with running_sandbox(tmp_path) as today, client(today.url, short) as api:
        assert today.api_key.rpartition(":")[2] == long
        assert (await api.get("/users/self"))["_id"] == "admin@sandbox.local"

    assert (len(long), len(short)) == (57, 18)
