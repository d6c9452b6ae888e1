"""Keys: every form that Flywheel users have, found in a fixed order, and never shown."""

import json
import os
import stat
import sys
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.errors import AuthError
from fwsync.keys import ApiKey, find_key, key_path, parse_key, store_key

SECRET = "Xy7secret90abc"
LONG = "djEt" + "a" * 53


@pytest.mark.parametrize(
    ("text", "base_url"),
    [
        (f"fw.example.org:{SECRET}", "https://fw.example.org/api"),
        (f"fw.example.org:8443:{SECRET}", "https://fw.example.org:8443/api"),
        (f"127.0.0.1:8080:__force_insecure:{SECRET}", "http://127.0.0.1:8080/api"),
        (f"localhost:__force_insecure:{SECRET}", "http://localhost/api"),
        (f"localhost:__force_insecure:8080:{SECRET}", "http://localhost:8080/api"),
        (f"bearer fw.example.org:{SECRET}", "https://fw.example.org/api"),
        (f"Scitran-User https://FW.example.org:{SECRET}\n", "https://fw.example.org/api"),
        (f"http://localhost:80:{SECRET}", "http://localhost:80/api"),
        (f"[2001:db8::1]:{SECRET}", "https://[2001:db8::1]/api"),
        (f"[::1]:8080:__force_insecure:{SECRET}", "http://[::1]:8080/api"),
    ],
)
def test_every_form_is_read(text: str, base_url: str) -> None:
    key = parse_key(text)

    assert base_url == key.base_url
    assert SECRET == key.secret
    assert (key.host, key.insecure) == (parse_key(key.text).host, parse_key(key.text).insecure)


def test_the_length_of_the_secret_picks_the_header() -> None:
    assert len(LONG) == 57
    assert f"Bearer {LONG}" == parse_key(f"fw.example.org:{LONG}").authorization
    assert f"scitran-user {SECRET}" == parse_key(f"fw.example.org:{SECRET}").authorization


@pytest.mark.parametrize(
    "text",
    [
        "",
        SECRET,
        LONG,
        "fw.example.org",
        "fw.example.org:",
        f":{SECRET}",
        f"fw.example.org:port:{SECRET}",
        f"fw.example.org:0:{SECRET}",
        f"fw.example.org:65536:{SECRET}",
        f"fw.example.org:443:more:{SECRET}",
        f"fw.example.org/api:{SECRET}",
        f"me@fw.example.org:{SECRET}",
        f"fw.example.org:{SECRET} and more",
        f"fw.example.org:{SECRET}\nX-Header: 1",
        f"fw.example.org:{SECRET}é",
        f"[::1:{SECRET}",
        f"[::1]{SECRET}",
        f"[]:{SECRET}",
    ],
)
def test_what_is_no_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(AuthError) as caught:
        parse_key(text, place="the file")
    said = caught.value.message + caught.value.hint

    assert SECRET not in said
    assert LONG not in said
    assert said.startswith("the file is not a Flywheel API key: ")
    assert caught.value.__cause__ is None


secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"))


@given(
    st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True),
    st.none() | st.integers(1, 65535),
    st.booleans(),
    secrets.filter(bool),
)
def test_a_key_survives_being_written_and_read(
    host: str, port: int | None, insecure: bool, secret: str
) -> None:
    key = ApiKey(host, port, insecure, secret)
    if secret == "__force_insecure":
        return

    read = parse_key(f"  {key.text}\n")

    assert (key.host, key.insecure, key.secret) == (read.host, read.insecure, read.secret)
    assert read.port == (port or (80 if insecure else None))


@given(st.text())
def test_any_text_is_a_key_or_an_auth_error(text: str) -> None:
    try:
        key = parse_key(text)
    except AuthError:
        return
    assert key.secret
    assert key.host
    assert key.authorization.isascii()
    assert key.authorization.isprintable()


def test_a_key_is_never_shown() -> None:
    key = parse_key(f"fw.example.org:{SECRET}")

    for shown in (repr(key), str(key), f"{key}", f"{[key]}", "%s" % key):  # noqa: UP031
        assert SECRET not in shown
        assert "fw.example.org" in shown


# ------------------------------------------------------------------------------ finding one


def put(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def secret_of(tmp_path: Path, env: dict[str, str], key_file: Path | None = None) -> str:
    return find_key(key_file=key_file, env=env, home=tmp_path, use_keyring=False).key.secret


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], str]:
    """A keyring as the extra gives one, in memory."""
    kept: dict[tuple[str, str], str] = {}
    fake = types.ModuleType("keyring")
    fake.get_password = lambda service, name: kept.get((service, name))  # type: ignore[attr-defined]
    fake.set_password = lambda service, name, text: kept.update({(service, name): text})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", fake)
    return kept


def test_the_first_place_that_has_a_key_wins(
    tmp_path: Path, keyring: dict[tuple[str, str], str]
) -> None:
    env = {
        "FWSYNC_API_KEY": "h:two",
        "CREDENTIALS_DIRECTORY": str(tmp_path / "cred"),
        "XDG_CONFIG_HOME": str(tmp_path / "xdg"),
        "FLYWHEEL_USER_HOME": str(tmp_path / "fw"),
    }
    given = put(tmp_path / "key", "h:one")
    credential = put(tmp_path / "cred/fwsync-api-key", "h:three\n", 0o400)
    keyring["fwsync", "api-key"] = "h:four"
    own = put(tmp_path / "xdg/fwsync/api-key", "h:five")
    user = put(tmp_path / "fw/.config/flywheel/user.json", json.dumps({"key": "h:six"}))
    found: list[tuple[str, str, str]] = []
    for drop in (
        lambda: None,
        lambda: env.pop("FWSYNC_API_KEY"),
        credential.unlink,
        keyring.clear,
        own.unlink,
    ):
        one = find_key(key_file=given if not found else None, env=env, home=tmp_path)
        found.append((one.key.secret, one.place, one.warning))
        drop()
    one = find_key(key_file=None, env=env, home=tmp_path)
    found.append((one.key.secret, one.place, one.warning))

    assert [
        ("one", str(given), ""),
        ("two", "FWSYNC_API_KEY", ""),
        ("three", str(credential), ""),
        ("four", "the keyring", ""),
        ("five", str(own), ""),
        ("six", str(user), ""),
    ] == found


def test_no_key_anywhere_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    env = {"CREDENTIALS_DIRECTORY": "/run/credentials/x", "FWSYNC_API_KEY": " "}
    with pytest.raises(AuthError) as caught:
        find_key(key_file=None, env=env, home=tmp_path)

    for place in (
        "FWSYNC_API_KEY",
        "/run/credentials/x/fwsync-api-key",
        "the keyring",
        f"{tmp_path}/.config/fwsync/api-key",
        f"{tmp_path}/.config/flywheel/user.json",
    ):
        assert place in caught.value.message
    assert "fwsync login" in caught.value.hint


def test_a_bad_key_is_an_error_and_not_passed_over(tmp_path: Path) -> None:
    put(tmp_path / ".config/flywheel/user.json", '{"key": "h:good"}')
    with pytest.raises(AuthError, match="FWSYNC_API_KEY is not"):
        secret_of(tmp_path, {"FWSYNC_API_KEY": "nonsense"})
    put(tmp_path / ".config/fwsync/api-key", "")
    with pytest.raises(AuthError, match="fwsync/api-key is not"):
        secret_of(tmp_path, {})


def test_a_key_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(AuthError, match="nowhere: there is no such API key file"):
        secret_of(tmp_path, {"FWSYNC_API_KEY": "h:other"}, tmp_path / "nowhere")


def test_a_folder_that_is_named_as_a_key_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AuthError, match="cannot be read"):
        secret_of(tmp_path, {}, tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_that_others_can_read_gives_a_warning(tmp_path: Path, mode: int) -> None:
    path = put(tmp_path / "key", f"h:{SECRET}", mode)

    found = find_key(key_file=path, env={}, home=tmp_path)

    assert f"{path}: others can read this API key; run `chmod 600 {path}`" == found.warning
    assert SECRET == found.key.secret


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_key_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = put(tmp_path / "key", f"h:{SECRET}", mode)

    with pytest.raises(AuthError, match="others can write") as caught:
        find_key(key_file=path, env={}, home=tmp_path)
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize("content", ["{", "[]", '{"key": 5}', '{"key": "Xy7secret90abc"'])
def test_a_damaged_user_json_is_named_and_not_shown(tmp_path: Path, content: str) -> None:
    put(tmp_path / ".config/flywheel/user.json", content)

    with pytest.raises(AuthError, match=r"user\.json: ") as caught:
        secret_of(tmp_path, {})
    assert SECRET not in caught.value.message
    assert caught.value.__cause__ is None


def test_a_user_json_after_logout_counts_as_none(tmp_path: Path) -> None:
    put(tmp_path / ".config/flywheel/user.json", '{"key": "", "root": false}')

    with pytest.raises(AuthError, match="no API key found"):
        secret_of(tmp_path, {})


def test_a_file_that_is_far_too_long_is_not_read(tmp_path: Path) -> None:
    path = put(tmp_path / "key", "h:" + "x" * 100_000)

    with pytest.raises(AuthError, match="too long"):
        secret_of(tmp_path, {}, path)


def test_a_keyring_that_fails_is_passed_over(
    tmp_path: Path, keyring: dict[tuple[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: str) -> str:
        raise RuntimeError("no D-Bus here")

    monkeypatch.setattr(sys.modules["keyring"], "get_password", locked)
    put(tmp_path / ".config/fwsync/api-key", "h:own")

    assert "own" == find_key(key_file=None, env={}, home=tmp_path).key.secret


# ------------------------------------------------------------------------------ storing one


def test_a_stored_key_is_found_again_and_is_the_users_own(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        place = store_key(parse_key(f"fw.example.org:{SECRET}"), env={}, home=tmp_path)
    finally:
        os.umask(old)
    path = key_path({}, home=tmp_path)

    assert str(path) == place
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert 0o700 == stat.S_IMODE(path.parent.stat().st_mode)
    assert SECRET == secret_of(tmp_path, {})
    assert [path.name] == [one.name for one in path.parent.iterdir()]


def test_storing_again_replaces_even_a_file_open_to_others(tmp_path: Path) -> None:
    path = put(key_path({}, home=tmp_path), "h:old", 0o666)
    store_key(parse_key("h:new"), env={}, home=tmp_path)

    assert "new" == secret_of(tmp_path, {})
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_a_link_in_the_keys_place_is_replaced_not_followed(tmp_path: Path) -> None:
    target = put(tmp_path / "target", "keep")
    path = key_path({}, home=tmp_path)
    path.parent.mkdir(parents=True)
    path.symlink_to(target)
    store_key(parse_key("h:new"), env={}, home=tmp_path)

    assert "keep" == target.read_text()
    assert not path.is_symlink()


def test_a_keyring_takes_the_key_and_the_older_file_goes(
    tmp_path: Path, keyring: dict[tuple[str, str], str]
) -> None:
    store_key(parse_key("h:old"), env={}, home=tmp_path)
    place = store_key(parse_key("h:new"), env={}, home=tmp_path, keyring=True)

    assert "the keyring" == place
    assert {("fwsync", "api-key"): "h:new"} == keyring
    assert not key_path({}, home=tmp_path).exists()


def test_without_a_keyring_the_file_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)

    assert str(key_path({}, home=tmp_path)) == store_key(
        parse_key("h:new"), env={}, home=tmp_path, keyring=True
    )


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".config").touch()

    with pytest.raises(AuthError, match="cannot be written") as caught:
        store_key(parse_key(f"h:{SECRET}"), env={}, home=tmp_path)
    assert SECRET not in caught.value.message
