"""Start and stop: the data folder, the keys, the port, the signals."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import secrets
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

from aiohttp import web

from fwsync.errors import Locked, UsageError
from fwsync.sandbox.app import make_app
from fwsync.sandbox.kept import tree
from fwsync.sandbox.kept.blobs import Blobs
from fwsync.sandbox.kept.keyring import LONG_KEY, Keyring, add_key, keys_of
from fwsync.sandbox.kept.records import Pen, open_records
from fwsync.sandbox.settings import SandboxSettings
from fwsync.sandbox.site import Site
from fwsync.sandbox.tls import server_context

ADMIN: Final = "admin@sandbox.local"
USER: Final = "user@sandbox.local"
EVERYWHERE: Final = "0.0.0.0"  # noqa: S104
DATA_HINT: Final = "--data takes a folder that you can write to, or the name of one to be made"
STOP_AFTER: Final = 0.1  # seconds that transfers are given when the sandbox stops
READ_BUFFER: Final = 512 << 10  # bytes; uploads are hashed in pieces of about this


@dataclass(frozen=True, slots=True)
class Ready:
    """What someone needs to use the sandbox; the keys stay valid over restarts.

    ``user_api_key`` is an ordinary user, who sees nothing until given a permission.
    """

    url: str
    api_key: str
    user_api_key: str
    device_secret: str
    user_id: str = USER
    ca_file: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For the line that ``fwsync sandbox --json`` prints."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class Sandbox:
    """A sandbox that runs in this process; made by :func:`running_sandbox`."""

    def __init__(self, site: Site, ready: Ready) -> None:
        self.site = site
        self.ready = ready

    @property
    def url(self) -> str:
        """``scheme://host:port``, without ``/api``."""
        return self.ready.url

    @property
    def api_key(self) -> str:
        """The admin's key, with the host, as ``fwsync login`` takes it."""
        return self.ready.api_key

    @property
    def user_api_key(self) -> str:
        """The key of a user who sees nothing yet."""
        return self.ready.user_api_key

    @property
    def device_secret(self) -> str:
        """What devices send as ``X-SciTran-Auth``."""
        return self.ready.device_secret

    @property
    def ca_file(self) -> str | None:
        """The certificate to trust; ``None`` without TLS."""
        return self.ready.ca_file


@asynccontextmanager
async def running_sandbox(
    data: Path | SandboxSettings,
    **changes: Any,
) -> AsyncIterator[Sandbox]:
    """A sandbox on loopback while the context lasts.

    Args:
        data: the data folder, or settings; ``changes`` are applied to them.

    Raises:
        Locked: another sandbox uses the data folder.
        UsageError: the port is taken, the host is no address to listen on, the folder cannot be
            used, or TLS lacks its package.
    """
    settings = data if isinstance(data, SandboxSettings) else SandboxSettings(data)
    settings = replace(settings, **changes)
    _check_host(settings.host)
    async with AsyncExitStack() as stack:
        lock = await asyncio.to_thread(_lock, settings.data)
        stack.push_async_callback(asyncio.to_thread, lock.close)
        await asyncio.to_thread(_make_private, settings.data / "sandbox.db")
        records = await open_records(settings.data / "sandbox.db", durable=settings.durable)
        stack.push_async_callback(asyncio.to_thread, records.close)
        blobs = await asyncio.to_thread(Blobs, settings.data, durable=settings.durable)
        stack.push_async_callback(asyncio.to_thread, blobs.close)
        secret = await records.write(_secrets, short_keys=settings.is_old)
        keyring = Keyring(records, secret["device_secret"])
        await keyring.load()
        await records.write(_make_groups, settings.groups)
        site = Site(settings, records, blobs, keyring)
        context, ca_file = await _tls(settings)
        app = await _listen(stack, site, context)
        yield Sandbox(site, _ready(settings, app, secret, ca_file))


async def serve(settings: SandboxSettings, announce: Callable[[Ready], None]) -> None:
    """Run a sandbox until SIGTERM, SIGHUP or Ctrl-C; transfers that run then are cut.

    Where SIGHUP is ignored, as under ``nohup``, it stays ignored.

    Args:
        announce: called once, when requests are answered.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    signals = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)  # the terminal was closed
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    try:
        async with running_sandbox(settings) as sandbox:
            announce(sandbox.ready)
            await stop.wait()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def run_sandbox(settings: SandboxSettings, announce: Callable[[Ready], None]) -> None:
    """:func:`serve`, in an event loop of its own."""
    asyncio.run(serve(settings, announce))


async def _listen(
    stack: AsyncExitStack, site: Site, context: ssl.SSLContext | None
) -> web.AppRunner:
    app = web.AppRunner(
        await asyncio.to_thread(make_app, site),  # hundreds of routes: tens of milliseconds
        access_log=None,
        handle_signals=False,
        shutdown_timeout=STOP_AFTER,
        read_bufsize=READ_BUFFER,
        auto_decompress=False,
    )
    await app.setup()
    stack.push_async_callback(app.cleanup)
    await _open_port(app, site.settings.host, site.settings.port, context)
    if site.store.elsewhere:
        known = len(app.addresses)  # a name may have several
        await _open_port(app, site.settings.host, site.settings.store_port, context)
        site.store_port = app.addresses[known][1]
    return app


async def _open_port(
    app: web.AppRunner, host: str, port: int, context: ssl.SSLContext | None
) -> None:
    try:
        await web.TCPSite(app, host, port, ssl_context=context, backlog=1024).start()
    except (OSError, UnicodeError) as error:  # the latter of a name that no host can have
        raise _cannot_listen(error, host, port) from error


def _cannot_listen(error: OSError | UnicodeError, host: str, port: int) -> UsageError:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return UsageError(
            f"{host}:{port}: the port is taken", hint="choose another --port, or 0 for a free one"
        )
    if number == errno.EACCES:
        return UsageError(
            f"{host}:{port}: the port may not be used", hint="choose a --port above 1023"
        )
    named = isinstance(error, (socket.gaierror, UnicodeError))
    what = "no host of this name is known" if named else "is no address of this machine"
    return UsageError(
        f"{host}: {what}", hint="give --host an address of this machine, such as 127.0.0.1"
    )


def _check_host(host: str) -> None:
    if not host:
        raise UsageError(
            "--host: an address is needed",
            hint="127.0.0.1 is for this machine only, 0.0.0.0 for everybody who can reach it",
        )
    if ":" in host:
        raise UsageError(
            f"--host {host}: the sandbox cannot listen on an IPv6 address",
            hint="keys are host:port:key and cannot name one; use localhost or an IPv4 address",
        )


def _named(host: str) -> str:
    """The host as clients on this machine name it."""
    return "127.0.0.1" if host == EVERYWHERE else host


def _make_private(db: Path) -> None:
    """Keys are in it; SQLite gives the files beside it the same mode."""
    if not db.exists():
        db.touch(mode=0o600)


def _ready(
    settings: SandboxSettings, app: web.AppRunner, secret: dict[str, str], ca_file: Path | None
) -> Ready:
    port = app.addresses[0][1]
    host = _named(settings.host)
    scheme, middle = ("https", "") if ca_file else ("http", "__force_insecure:")
    before = f"{host}:{port}:{middle}"
    return Ready(
        f"{scheme}://{host}:{port}",
        before + secret[ADMIN],
        before + secret[USER],
        secret["device_secret"],
        ca_file=str(ca_file) if ca_file else None,
    )


async def _tls(settings: SandboxSettings) -> tuple[ssl.SSLContext | None, Path | None]:
    if settings.tls is None:
        return None, None
    make = partial(server_context, settings.data / "tls", _named(settings.host), settings.tls)
    return await asyncio.to_thread(make)


def _lock(folder: Path) -> BinaryIO:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "lock").open("wb")
    except FileExistsError as error:
        raise UsageError(f"{folder}: is not a folder", hint=DATA_HINT) from error
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot hold the data ({error.strerror})", hint=DATA_HINT
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise Locked(f"{folder}: another sandbox uses this data folder") from error
    return lock


def _make_groups(pen: Pen, groups: tuple[str, ...]) -> None:
    """Make the groups that are not there; the admin of the sandbox is theirs as well."""
    for group in groups:
        if not tree.GROUP_ID.fullmatch(group):
            raise UsageError(
                f"{group!r} cannot be the id of a group",
                hint="use 2 to 32 of the characters a-z 0-9 . @ _ -",
            )
        known = "SELECT 1 FROM containers WHERE id = ? AND deleted IS NULL"
        if pen.db.execute(known, (group,)).fetchone() is None:
            tree.upsert_group(pen, group, tree.new_container("group", {"_id": group}))
            tree.set_permissions(pen, group, [{"_id": ADMIN, "access": "admin"}], replace=True)


def _secrets(pen: Pen, *, short_keys: bool) -> dict[str, str]:
    """The keys of the two users and the secret of the devices; drawn at the first start.

    Args:
        short_keys: keys as the server of 2018 drew them. Clients send long ones as ``Bearer``,
            which that server does not know.
    """
    db = pen.db
    found: dict[str, str] = {}
    for user, first, last, root in ((ADMIN, "Ada", "Admin", 1), (USER, "Uma", "User", 0)):
        db.execute(
            "INSERT OR IGNORE INTO users VALUES (?,?,?,?,0,?,?,NULL,'{}')",
            (user, first, last, root, pen.now, pen.now),
        )
        fitting = (key["key"] for key in keys_of(db, "user", user))
        found[user] = next((key for key in fitting if (len(key) < LONG_KEY) == short_keys), "")
        found[user] = found[user] or add_key(pen, "user", user, short=short_keys)["key"]
    db.execute(
        "INSERT OR IGNORE INTO settings VALUES ('device_secret', ?)", (secrets.token_hex(16),)
    )
    row = db.execute("SELECT value FROM settings WHERE name = 'device_secret'").fetchone()
    return found | {"device_secret": row[0]}
