"""`fwsync sandbox`: run the embedded server, and say how to use it."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fwsync import sandbox as server
from fwsync.errors import Exit
from fwsync.progress import SafeStream, say


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What somebody wants of a sandbox.

    Args:
        port: 0 picks a free one.
        host: the address to listen on.
        data: where records and files stay; None: in a folder that goes with the server.
        tls: serve HTTPS.
        groups: ids of groups to make, if they are not there.
        store: the dialect of the object store that signed URLs lead to.
        switches: each as ``NAME=VALUE``, or ``NAME`` to switch on.
        faults: the file with a script of faults.
    """

    port: int = 0
    host: str = "127.0.0.1"
    data: Path | None = None
    tls: bool = False
    groups: tuple[str, ...] = ()
    store: server.Dialect = "local"
    switches: tuple[str, ...] = ()
    faults: Path | None = None

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
    """Serve until Ctrl-C or SIGTERM.

    Args:
        wanted: how.
        as_json: say that it is ready in one JSON line.
    """
    with ExitStack() as stack:
        folder = wanted.data or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="fwsync-sandbox-"))
        )

        def announce(ready: server.Ready) -> None:
            if as_json:
                # No "v" and "event": this line is a contract of its own.
                SafeStream(sys.stdout).write(json.dumps(ready.as_json()) + "\n")
            else:
                _tell(ready, wanted)
            sys.stdout.flush()

        server.run_sandbox(wanted.settings(folder), announce)
    if not as_json:
        say("stopped; " + ("the data are kept" if wanted.data else "the data are gone"))
    return Exit.IN_STEP


def _tell(ready: server.Ready, wanted: Rehearsal) -> None:
    kept = f"kept in {wanted.data}" if wanted.data else "gone when it stops (--data DIR keeps them)"
    say(f"the sandbox listens at {ready.url}; its data are {kept}")
    for line in _particulars(wanted):
        say(line)
    say("")
    say(f"  API key        {ready.api_key}")
    say(f"  ordinary user  {ready.user_api_key}  (sees what it is given)")
    say(f"  device secret  {ready.device_secret}")
    say("")
    say("try it from another terminal:")
    say("")
    for line in _first_steps(ready):
        say(line)
    say("")
    say("Ctrl-C stops it")


def _particulars(wanted: Rehearsal) -> list[str]:
    """What is not as usual, so that nobody wonders later."""
    lines = []
    if wanted.store != "local":
        lines.append(f"uploads go by signed URLs to a store like {wanted.store}")
    if wanted.switches:
        lines.append(f"switches: {', '.join(wanted.switches)}")
    if wanted.faults:
        lines.append(f"the network is as bad as {wanted.faults} says")
    return lines


def _first_steps(ready: server.Ready) -> list[str]:
    """A first command for each of the usual clients, ready to be pasted."""
    trust = [f"export FW_SSL_CERT_FILE={shlex.quote(ready.ca_file)}"] if ready.ca_file else []
    secret = ready.api_key.rpartition(":")[2]
    cacert = f" --cacert {shlex.quote(ready.ca_file)}" if ready.ca_file else ""
    python = f"import flywheel; print(flywheel.Client('{ready.api_key}').get_current_user().id)"
    steps = {
        "fwsync": [*trust, f"export FWSYNC_API_KEY={ready.api_key}", "fwsync ls"],
        "flywheel-sdk": [*trust, f'python -c "{python}"'],
        "flywheel-cli": [*trust, f"fw login {ready.api_key}", "fw ls"],
        "curl": [f"curl{cacert} -H 'Authorization: Bearer {secret}' {ready.url}/api/users/self"],
    }
    lines = []
    for name, commands in steps.items():
        for word, command in zip([name, *[""] * len(commands)], commands, strict=False):
            lines.append(f"  {word:13}  {command}")
    return lines
