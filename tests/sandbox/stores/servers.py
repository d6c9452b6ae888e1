"""The programs of others that the stores are compared with, as processes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.conformance import environments
from tests.sandbox.stores.azurite import azurite

#: The account and the key that every Azurite has; published in its documentation.
ACCOUNT: Final = "devstoreaccount1"
SECRET: Final = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


class Signer:
    """``signer.py`` in the environment of the clouds' libraries; a call is a line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, name: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, arguments]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the signer has ended; see its traceback"
        return json.loads(line)


@contextmanager
def signer() -> Iterator[Signer]:
    script = str(Path(__file__).with_name("signer.py"))
    command = [str(environments.python("stores")), script]
    with _process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Signer(process)


@contextmanager
def moto() -> Iterator[str]:
    """moto's S3 server; its address. It takes wrong and expired signatures too."""
    port = _free_port()
    program = str(environments.program("stores", "moto_server"))
    command = [program, "-H", "127.0.0.1", "-p", str(port)]
    with _process(command, stderr=subprocess.PIPE) as process:
        _wait_for(process.stderr, "Running on")
        yield f"http://127.0.0.1:{port}"


@contextmanager
def running_azurite(folder: Path) -> Iterator[str]:
    """Azurite's blob service; its address."""
    port = _free_port()
    # The libraries sign for a version of the service that is newer than this Azurite.
    command = ["node", str(azurite()), "--silent", "--skipApiVersionCheck"]
    command += ["--location", str(folder), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    with _process(command, stdout=subprocess.PIPE) as process:
        _wait_for(process.stdout, "successfully listens")
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _process(command: list[str], **pipes: Any) -> Iterator[subprocess.Popen[str]]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    told: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL} | pipes
    with subprocess.Popen(
        command, env=kept | {"PYTHONUNBUFFERED": "1"}, text=True, encoding="utf-8", **told
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def _wait_for(stream: Any, words: str) -> None:
    lines = []
    for line in stream:
        lines.append(line)
        if re.search(words, line):
            return
    raise AssertionError(f"it has ended: {''.join(lines)}")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
