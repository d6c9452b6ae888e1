from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import ssl
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from fwsync.errors import Locked, StateDamaged, StateTooNew, UsageError
from fwsync.sandbox import SandboxSettings, TlsSettings, running_sandbox
from tests.sandbox.api import client, plant

PROGRAM = """
import json, sys
from pathlib import Path
from fwsync.sandbox import SandboxSettings, run_sandbox
run_sandbox(
    SandboxSettings(Path(sys.argv[1])), lambda ready: print(json.dumps(ready.as_json()), flush=True)
)
"""


@dataclass
class Running:
    process: asyncio.subprocess.Process
    url: str
    api_key: str

    async def stop(self, number: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(number)
        _, said = await self.process.communicate()
        code = self.process.returncode
        assert code is not None
        # Development mode also says which step took long, which is the machine's business.
        lines = said.decode().splitlines(keepends=True)
        return code, "".join(line for line in lines if not line.startswith("Executing <"))


@asynccontextmanager
async def started(data: Path) -> AsyncIterator[Running]:
    """A sandbox in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-X",
        "dev",
        "-c",
        PROGRAM,
        str(data),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )
    assert process.stdout is not None
    try:
        ready = json.loads(await process.stdout.readline())
        yield Running(process, ready["url"], ready["api_key"])
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_data_and_keys_survive_a_restart(tmp_path: Path) -> None:
    async with running_sandbox(tmp_path) as first, client(first.url, first.api_key) as api:
        tree = await plant(api)
        [entry] = await api.upload(
            f"projects/{tree.project}",
            {
                "a.txt": b"a",
            },
        )
        before = await api.get("/sandbox/record")
        url, keys = first.url, (first.api_key, first.user_api_key, first.device_secret)
    port = int(url.rpartition(":")[2])
    async with running_sandbox(tmp_path, port=port) as second, client(url, keys[0]) as api:
        after = await api.get("/sandbox/record")
        content = await api.ask("GET", f"/files/{entry['file_id']}/download")
        [newer] = await api.upload(f"projects/{tree.project}", {"b.txt": b"b"})

        assert (second.api_key, second.user_api_key, second.device_secret) == keys
    assert after == before
    assert content.body == b"a"
    assert newer["file_id"] > entry["file_id"]


async def test_one_data_folder_serves_one_sandbox(tmp_path: Path) -> None:
    async with running_sandbox(tmp_path):
        with pytest.raises(Locked):
            async with running_sandbox(tmp_path):
                pass


async def test_a_port_that_is_taken_is_a_usage_error(tmp_path: Path) -> None:
    async with running_sandbox(tmp_path / "a") as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(UsageError):
            async with running_sandbox(tmp_path / "b", port=port):
                pass
    async with running_sandbox(tmp_path / "b"):  # and the folder was let go
        pass


@pytest.mark.row("sandbox-welcome")
@pytest.mark.parametrize("compat", ["", "core-2018"])
async def test_a_browser_is_told_where_it_is(tmp_path: Path, compat: str) -> None:
    async with (
        running_sandbox(tmp_path, switches={"compat": compat}) as sandbox,
        aiohttp.ClientSession() as session,
        session.get(sandbox.url + "/") as answer,
    ):
        text = await answer.text()

    assert (answer.status, answer.content_type) == (200, "text/plain")
    assert "docs/guides/sandbox.md" in text
    assert "/api" in text


@pytest.mark.parametrize("host", ["", "::", "::1", "[::1]", "203.0.113.9", "a..b", "x" * 70])
async def test_a_host_that_is_no_address_of_ours_is_a_usage_error(
    tmp_path: Path, host: str
) -> None:
    with pytest.raises(UsageError) as caught:
        async with running_sandbox(tmp_path, host=host):
            pass

    assert caught.value.hint


async def test_tls_on_all_addresses_is_for_the_name_that_is_told(tmp_path: Path) -> None:
    everywhere = "0.0.0.0"
    async with running_sandbox(tmp_path, tls=TlsSettings(), host=everywhere) as sandbox:
        assert sandbox.ca_file is not None
        assert await fetch(sandbox.url, sandbox.ca_file) == 200


async def test_a_database_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sandbox.db").write_bytes(b"nonsense" * 1000)

    with pytest.raises(StateDamaged):
        async with running_sandbox(tmp_path):
            pass


async def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    def age() -> None:
        db = sqlite3.connect(tmp_path / "sandbox.db")
        db.execute("PRAGMA user_version = 99")
        db.close()

    async with running_sandbox(tmp_path):
        pass
    await asyncio.to_thread(age)

    with pytest.raises(StateTooNew):
        async with running_sandbox(tmp_path):
            pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_at_once_with_transfers_running(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with started(tmp_path) as running:
        async with client(running.url, running.api_key) as api:
            tree = await plant(api)
            await api.upload(f"projects/{tree.project}", {"big": b"x" * 30_000_000})
        host, port = "127.0.0.1", int(running.url.rpartition(":")[2])
        key = running.api_key.rpartition(":")[2]
        head = f"HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        form = "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9000000\r\n\r\n"
        part = '--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
        getting, get = await asyncio.open_connection(host, port)
        _, put = await asyncio.open_connection(host, port)
        get.write(f"GET /api/projects/{tree.project}/files/big {head}\r\n".encode())
        put.write(f"POST /api/projects/{tree.project}/files {head}{form}{part}".encode())
        put.write(b"x" * 3_000_000)
        await getting.readexactly(10_000)
        asked = datetime.now(UTC)
        code, said = await running.stop(number)
        took = datetime.now(UTC) - asked
        get.close()
        put.close()

    assert (code, said) == (0, "")
    assert took < timedelta(seconds=5)


async def test_a_killed_sandbox_has_no_record_without_bytes(tmp_path: Path) -> None:
    known: list[str] = []

    async def upload(url: str, key: str, project: str, worker: int) -> None:
        async with client(url, key) as api:
            for n in range(1000):
                content = f"{worker}-{n}".encode() * 300
                [entry] = await api.upload(f"projects/{project}", {f"{worker}-{n}": content})
                known.append(entry["file_id"])

    async with started(tmp_path) as running:
        async with client(running.url, running.api_key) as api:
            tree = await plant(api)
        async with asyncio.TaskGroup() as group:
            workers = [
                group.create_task(
                    quietly(upload(running.url, running.api_key, tree.project, number))
                )
                for number in range(8)
            ]
            async with client(running.url, running.api_key) as api:
                while (await api.get("/files", limit=1))["total"] < 100:
                    pass
            await running.stop(signal.SIGKILL)
            for worker in workers:
                worker.cancel()
    async with running_sandbox(tmp_path) as again, client(again.url, again.api_key) as api:
        record = (await api.get("/sandbox/record"))["files"]
        stored = {one["file_id"] for one in record}
        sizes = {
            one["sha384"]: again.site.blobs.path(one["sha384"]).stat().st_size for one in record
        }
        left_over = list((tmp_path / "incoming").iterdir())

    assert set(known) <= stored
    assert all(one["size"] == sizes[one["sha384"]] for one in record)
    assert left_over == []


async def quietly(work: Coroutine[None, None, None]) -> None:
    """The sandbox will be killed under it: that is no failure of the test."""
    try:
        await work
    except (aiohttp.ClientError, OSError):
        pass


async def fetch(url: str, ca_file: str) -> int:
    context = ssl.create_default_context(cafile=ca_file)
    connector = aiohttp.TCPConnector(ssl=context)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"{url}/api/config") as answer,
    ):
        return answer.status


async def test_tls_is_trusted_through_the_ca_file(tmp_path: Path) -> None:
    settings = SandboxSettings(tmp_path, tls=TlsSettings())
    async with running_sandbox(settings) as first:
        assert first.ca_file is not None
        assert await fetch(first.url, first.ca_file) == 200
        assert first.url.startswith("https://127.0.0.1:")
        assert "__force_insecure" not in first.api_key
        ca = Path(first.ca_file).read_bytes()
    async with running_sandbox(settings) as second:
        assert second.ca_file is not None
        assert Path(second.ca_file).read_bytes() == ca


@pytest.mark.parametrize(
    "tls",
    [
        TlsSettings(hostname="elsewhere.example"),
        TlsSettings(expires=datetime(2020, 1, 1, tzinfo=UTC)),
    ],
)
async def test_a_bad_certificate_can_be_had_for_tests(tmp_path: Path, tls: TlsSettings) -> None:
    async with running_sandbox(tmp_path, tls=tls) as sandbox:
        assert sandbox.ca_file is not None
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await fetch(sandbox.url, sandbox.ca_file)


async def test_tls_without_its_package_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)

    with pytest.raises(UsageError) as caught:
        async with running_sandbox(tmp_path, tls=TlsSettings()):
            pass

    assert "fwsync[tls]" in caught.value.hint


async def test_a_durable_sandbox_works_the_same(tmp_path: Path) -> None:
    async with (
        running_sandbox(tmp_path, durable=True) as sandbox,
        client(sandbox.url, sandbox.api_key) as api,
    ):
        tree = await plant(api)
        await api.upload(f"projects/{tree.project}", {"a": b"a", "b": b"b" * 2_000_000})
        content = await api.ask("GET", f"/projects/{tree.project}/files/b")

    assert content.body == b"b" * 2_000_000
