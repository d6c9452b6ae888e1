"""``fwsync sandbox`` started by hand: what it prints works when pasted, and it goes quietly."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

RUN_S = 100.0
SANDBOX = [sys.executable, "-m", "fwsync", "sandbox", "--port", "0"]


@dataclass(frozen=True)
class Started:
    """A sandbox in a process of its own, and what it said when it was ready."""

    process: subprocess.Popen[str]
    lines: list[str]

    def steps(self) -> dict[str, list[str]]:
        """The commands it offers, by client."""
        first = self.lines.index("try it from another terminal:") + 1
        found: dict[str, list[str]] = {}
        name = ""
        for line in self.lines[first:-2]:
            if line.strip():
                name = line[2:15].strip() or name
                found.setdefault(name, []).append(line[17:])
        return found


@contextmanager
def started(scratch: Path, *options: str) -> Iterator[Started]:
    (scratch / "tmp").mkdir(exist_ok=True)
    with subprocess.Popen(
        [*SANDBOX, "--group", "lab", *options],
        cwd=scratch,
        env=os.environ | {"TMPDIR": str(scratch / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                if lines[-1].startswith("Ctrl-C"):
                    break
            yield Started(process, lines)
        finally:
            process.kill()


def ended(
    command: list[str], scratch: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A run that comes to its end, whatever that is."""
    return subprocess.run(
        command,
        cwd=scratch,
        env=env,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )


def refused(scratch: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What a sandbox says that is expected not to start."""
    return ended([*SANDBOX, *options], scratch)


def pasted(commands: list[str], scratch: Path, path: Mapping[str, Path]) -> str:
    """What a new terminal shows for these lines.

    Args:
        path: programs by the name that the lines give them.
    """
    programs = scratch / "bin"
    programs.mkdir(exist_ok=True)
    for name, program in path.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(str(program))} "$@"\n')
        (programs / name).chmod(0o755)
    env = {
        "HOME": str(scratch),
        "PATH": f"{programs}:/usr/bin:/bin",
        "PYTHONWARNINGS": "ignore",
        "LANG": "C.UTF-8",
    }
    done = ended(["sh", "-e", "-c", "\n".join(commands)], scratch, env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def curled(commands: list[str]) -> Any:
    """What curl, which need not be here, would be answered."""
    words = shlex.split(commands[0])
    name, _, value = words[words.index("-H") + 1].partition(": ")
    cacert = words[words.index("--cacert") + 1] if "--cacert" in words else None
    context = ssl.create_default_context(cafile=cacert)
    request = urllib.request.Request(words[-1], headers={name: value})
    with urllib.request.urlopen(request, context=context) as answer:
        return json.load(answer)


@pytest.mark.parametrize("options", [(), ("--tls",)], ids=["http", "https"])
def test_the_lines_for_fwsync_the_sdk_and_curl_work_as_they_are(
    options: tuple[str, ...], tmp_path: Path, sdk_python: Path
) -> None:
    with started(tmp_path, *options) as sandbox:
        steps = sandbox.steps()
        assert list(steps) == ["fwsync", "flywheel-sdk", "flywheel-cli", "curl"]

        fwsync = Path(sys.executable).with_name("fwsync")
        assert "lab" in pasted(steps["fwsync"], tmp_path, {"fwsync": fwsync})
        by_sdk = pasted(steps["flywheel-sdk"], tmp_path, {"python": sdk_python})
        assert by_sdk.split() == ["admin@sandbox.local"]

        assert curled(steps["curl"])["_id"] == "admin@sandbox.local"


def test_the_lines_for_the_official_command_line_work_as_they_are(tmp_path: Path, fw: Path) -> None:
    with started(tmp_path) as sandbox:
        said = pasted(sandbox.steps()["flywheel-cli"], tmp_path, {"fw": fw})

    assert "You are now logged in as: Ada Admin!" in said
    assert said.splitlines()[-1].split() == ["admin", "lab"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_quietly_and_its_data_go_with_it(
    number: signal.Signals, tmp_path: Path
) -> None:
    with started(tmp_path) as sandbox:
        assert len(list((tmp_path / "tmp").iterdir())) == 1
        sandbox.process.send_signal(number)
        out, err = sandbox.process.communicate(timeout=RUN_S)

    assert (out, err, sandbox.process.returncode) == ("stopped; the data are gone\n", "", 0)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_data_that_are_to_be_kept_are_kept(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with started(tmp_path, "--data", str(kept)) as sandbox:
        assert f"its data are kept in {kept}" in sandbox.lines[0]
        sandbox.process.send_signal(signal.SIGTERM)
        out, _ = sandbox.process.communicate(timeout=RUN_S)

    assert out == "stopped; the data are kept\n"
    assert (kept / "sandbox.db").stat().st_size > 0


def test_what_is_not_as_usual_is_said(tmp_path: Path) -> None:
    script = tmp_path / "bad.toml"
    script.write_text("[[rules]]\naction = { delay_s = 0.1 }\n")
    with started(
        tmp_path,
        *("--store", "s3", "--faults", str(script)),
        *("--switch", "audit-trail", "--switch", "page_limit=9", "--switch", "page_limit=5"),
    ) as sandbox:
        said = sandbox.lines[1:5]

    assert said == [
        "groups: lab",
        "uploads go by signed URLs to a store like s3",
        "switches: audit_trail=on, page_limit=5",
        f"the network is as bad as {script} says",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--switch", "no_such=1"), "--switch: there is no switch no_such\n"),
        (
            ("--switch", "page_limit=many"),
            "--switch: page_limit needs a whole number, 0 to 1000000000, as page_limit=100\n",
        ),
        (("--host", ""), "--host: an address is needed\n"),
        (("--host", "::1"), "--host ::1: the sandbox cannot listen on an IPv6 address\n"),
        (("--host", "203.0.113.9"), "203.0.113.9: is no address of this machine\n"),
        (("--host", "a..b"), "a..b: no host of this name is known\n"),
        (("--data", ""), "--data: a folder is needed\n"),
        (("--faults", "nowhere.toml"), "nowhere.toml: the script cannot be read"),
    ],
)
def test_what_cannot_be_used_is_named_with_what_to_do(
    options: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = refused(tmp_path, *options)

    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}")
    assert "\nhint: " in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("port", ["-1", "65536", "99999"])
def test_a_port_that_there_is_not_is_refused(port: str, tmp_path: Path) -> None:
    done = refused(tmp_path, "--port", port)

    assert done.returncode == 2
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_named_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = refused(tmp_path, "--port", str(port))

    assert done.returncode == 2
    assert done.stderr == (
        f"error: 127.0.0.1:{port}: the port is taken\n"
        "hint: choose another --port, or 0 for a free one\n"
    )


def test_a_folder_with_other_things_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("mine")
    (tmp_path / "file").touch()

    full, file = (refused(tmp_path, "--data", name) for name in ("thesis", "file"))

    assert (full.returncode, file.returncode) == (2, 2)
    assert f"{tmp_path}/thesis: has other things in it" in full.stderr
    assert f"{tmp_path}/file: is not a folder\nhint: " in file.stderr
    assert [each.name for each in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]


def test_paths_are_told_as_other_terminals_need_them(tmp_path: Path) -> None:
    for _ in range(2):  # the second time the folder is there already
        with started(tmp_path, "--tls", "--data", "kept") as sandbox:
            steps = sandbox.steps()

        assert f"its data are kept in {tmp_path}/kept" in sandbox.lines[0]
        assert steps["fwsync"][0] == f"export FW_SSL_CERT_FILE={tmp_path}/kept/tls/ca.pem"
    assert (tmp_path / "kept/sandbox.db").stat().st_mode & 0o777 == 0o600


def test_a_sandbox_that_others_can_reach_says_so(tmp_path: Path) -> None:
    with started(tmp_path, "--host", "0.0.0.0") as sandbox:
        said = sandbox.lines[:2]

    assert said[0].startswith("the sandbox listens at http://127.0.0.1:")
    assert said[1].startswith("it is open to the network, in plain HTTP")


def test_the_older_server_is_offered_to_the_clients_that_can_talk_to_it(tmp_path: Path) -> None:
    with started(tmp_path, "--compat", "core-2018", "--group", "lab") as sandbox:
        steps = sandbox.steps()
        who = curled(steps["curl"])["_id"]
        fwsync = Path(sys.executable).with_name("fwsync")
        assert "lab" in pasted(steps["fwsync"], tmp_path, {"fwsync": fwsync})

    assert list(steps) == ["fwsync", "curl"]
    assert who == "admin@sandbox.local"
