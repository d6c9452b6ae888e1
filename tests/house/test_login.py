"""`fwsync login` at a terminal, and where it is given what is no key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.house.house import Desk, Done, Ground, complains, finish

PROMPT = b"API key (host:key, from your profile page): "


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """The end where a person types, and the end that the command has."""
    ours, theirs = os.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


def typed(desk: Desk, keys: bytes) -> Done:
    """A login at a terminal of its own; ``err`` is what the terminal shows."""
    with terminal() as (ours, theirs):
        process = desk.start("login", prepare=lambda: os.login_tty(theirs))
        shown = b""
        while PROMPT not in shown:
            shown += os.read(ours, 4096)
        os.write(ours, keys)
        done = finish(process)
        shown += os.read(ours, 4096)
    return Done(done.code, done.out, shown.decode().replace("\r\n", "\n"))


def test_a_key_that_is_typed_is_kept(ground: Ground, desk: Desk) -> None:
    done = typed(desk, f"{ground.key()}\n".encode())

    assert 0 == done.code, done
    assert f"logged in to 127.0.0.1:{ground.port} as " in done.err
    assert 0 == Desk(desk.home).run("ls").code


def test_ctrl_c_at_the_prompt_ends_the_line_and_says_no_more(desk: Desk) -> None:
    done = typed(desk, b"\x03")

    assert (130, f"{PROMPT.decode()}\n") == (done.code, done.err)


def test_ctrl_d_at_the_prompt_is_no_key(desk: Desk) -> None:
    done = typed(desk, b"\x04")

    assert f"{PROMPT.decode()}\nerror: no API key was given\nhint: " in done.err
    assert 3 == done.code, done


def test_what_is_no_key_is_not_answered_with_another_login(desk: Desk) -> None:
    done = typed(desk, b"nonsense\n")

    assert "error: what was entered is not a Flywheel API key: " in done.err
    assert "hint: copy the key from your profile page again, all of it\n" in done.err
    assert 3 == done.code, done


@pytest.mark.parametrize("text", ["nonsense", None])
def test_a_file_without_a_key_is_not_answered_with_another_login(
    text: str | None, desk: Desk, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    if text is not None:
        file.write_text(text)
        file.chmod(0o600)
    done = desk.run("login", "--api-key-file", file)

    complains(done, 3, f"into {file}")
    assert "fwsync login" not in done.err


def test_ls_warns_of_a_key_that_others_can_read(ground: Ground, desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(ground.key())
    file.chmod(0o644)
    done = desk.run("ls", "--api-key-file", file)

    assert 0 == done.code, done
    assert f"warning: {file}" in done.err
