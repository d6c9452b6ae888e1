"""`fwsync sandbox`: run the embedded server, and say how to use it."""

from __future__ import annotations

import ipaddress
import json
import shlex
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fwsync import sandbox as server
from fwsync.errors import Exit, UsageError
from fwsync.progress import SafeStream, say


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What somebody wants of a sandbox.

    Args:
        port: 0 picks a free one.
        host: the address to listen on.
        data: the folder where records and files stay; None: in one that goes with the server.
        tls: serve HTTPS.
        groups: ids of groups to make, if they are not there.
        store: the dialect of the object store that signed URLs lead to.
        switches: each as ``NAME=VALUE``, or ``NAME`` to switch on.
        faults: the file with a script of faults.
    """

    port: int
    host: str
    data: str | None
    tls: bool
    groups: tuple[str, ...]
    store: server.Dialect
    switches: tuple[str, ...]
    faults: Path | None

    def settings(self, data: Path) -> server.SandboxSettings:
        """For a server that keeps its data there.

        Raises:
            UsageError: a switch or the script cannot be read.
        """
        return server.SandboxSettings(
            data=data,
            host=self.host,
            port=self.port,
            tls=server.TlsSettings() if self.tls else None,
            groups=self.groups,
            store=self.store,
            switches=server.read_switches(self.switches),
            faults=server.read_script(self.faults) if self.faults else (),
        )


def sandbox(wanted: Rehearsal, *, as_json: bool) -> Exit:
    """Serve until Ctrl-C, SIGTERM or SIGHUP.

    Args:
        wanted: how.
        as_json: say that it is ready in one JSON line.

    Raises:
        UsageError: what is wanted cannot be had.
    """
    with ExitStack() as stack:
        if wanted.data is None:
            made = tempfile.TemporaryDirectory(prefix="fwsync-sandbox-")
            folder = Path(stack.enter_context(made))
        else:
            folder = _own_folder(wanted.data)
        settings = wanted.settings(folder)

        def announce(ready: server.Ready) -> None:
            if as_json:
                # No "v" and "event": this line is a contract of its own.
                SafeStream(sys.stdout).write(json.dumps(ready.as_json()) + "\n")
            else:
                _tell(ready, settings, wanted)
            sys.stdout.flush()

        server.run_sandbox(settings, announce)
    if not as_json:
        say("stopped; " + ("the data are gone" if wanted.data is None else "the data are kept"))
    return Exit.IN_STEP


def _own_folder(name: str) -> Path:
    """The data folder, absolute; one with other things in it is not taken over.

    Raises:
        UsageError: it cannot be one.
    """
    if not name:
        raise UsageError("--data: a folder is needed", hint=server.DATA_HINT)
    folder = Path(name).absolute()
    try:
        inside = {each.name for each in folder.iterdir()} if folder.is_dir() else set()
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be read ({error.strerror})", hint=server.DATA_HINT
        ) from error
    if inside - {"lock"} and "sandbox.db" not in inside:
        raise UsageError(
            f"{folder}: has other things in it, and no sandbox's data",
            hint="--data takes an empty folder, one that a sandbox made, or the name of a new one",
        )
    return folder


def _tell(ready: server.Ready, settings: server.SandboxSettings, wanted: Rehearsal) -> None:
    kept = "gone when it stops (--data DIR keeps them)"
    if wanted.data is not None:
        kept = f"kept in {settings.data}"
    say(f"the sandbox listens at {ready.url}; its data are {kept}")
    for line in _particulars(settings, wanted):
        say(line)
    say("")
    say(f"  API key        {ready.api_key}")
    say(f"  ordinary user  {ready.user_api_key}  (sees what it is given)")
    say(f"  device secret  {ready.device_secret}")
    say("")
    say("try it from another terminal:")
    say("")
    for line in _first_steps(ready, old=settings.is_old):
        say(line)
    say("")
    say("guide: docs/guides/sandbox.md in the source")
    say("Ctrl-C stops it")


def _particulars(settings: server.SandboxSettings, wanted: Rehearsal) -> list[str]:
    """What is not as usual, so that nobody wonders later."""
    lines = []
    if not _for_this_machine(settings.host):
        how = "" if settings.tls else ", in plain HTTP"
        lines.append(f"it is open to the network{how}: who can reach {settings.host} can ask it")
    if settings.groups:
        lines.append(f"groups: {', '.join(settings.groups)}")
    if settings.store != "local":
        lines.append(f"uploads go by signed URLs to a store like {settings.store}")
    if settings.switches:
        held = (f"{name}={_shown(value)}" for name, value in settings.switches.items())
        lines.append(f"switches: {', '.join(held)}")
    if wanted.faults:
        lines.append(f"the network is as bad as {wanted.faults} says")
    if settings.is_old:
        lines.append(
            "fwsync works with the API of that time; the SDK and command line of today do not"
        )
    return lines


def _for_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(value: object) -> str:
    """As ``--switch`` takes it."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _first_steps(ready: server.Ready, *, old: bool) -> list[str]:
    """A first command for each client that can talk to it, ready to be pasted."""
    trust = [f"export FW_SSL_CERT_FILE={shlex.quote(ready.ca_file)}"] if ready.ca_file else []
    secret = ready.api_key.rpartition(":")[2]
    scheme = "scitran-user" if old else "Bearer"
    cacert = f" --cacert {shlex.quote(ready.ca_file)}" if ready.ca_file else ""
    python = f"import flywheel; print(flywheel.Client('{ready.api_key}').get_current_user().id)"
    steps = {
        "fwsync": [*trust, f"export FWSYNC_API_KEY={ready.api_key}", "fwsync ls"],
        "flywheel-sdk": [*trust, f'python -c "{python}"'],
        "flywheel-cli": [*trust, f"fw login {ready.api_key}", "fw ls"],
        "curl": [f"curl{cacert} -H 'Authorization: {scheme} {secret}' {ready.url}/api/users/self"],
    }
    if old:
        steps = {name: steps[name] for name in ("fwsync", "curl")}
    lines = []
    for name, commands in steps.items():
        for word, command in zip([name, *[""] * len(commands)], commands, strict=False):
            lines.append(f"  {word:13}  {command}")
    return lines
