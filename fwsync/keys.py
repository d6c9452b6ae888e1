"""API keys: read them in the forms that Flywheel users already have, and keep them secret.

One rule: no error text, no ``repr`` and no log line ever holds a secret, or a part of one.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from fwsync.errors import AuthError

#: The environment variable with a key, for scripts.
VARIABLE = "FWSYNC_API_KEY"
#: The name of the systemd credential (``LoadCredential=fwsync-api-key:…``).
CREDENTIAL = "fwsync-api-key"
#: Service and user name in the keyring.
KEYRING = ("fwsync", "api-key")

#: Keys of this length go out as ``Bearer``, all others as ``scitran-user``.
#: Source: the official SDK 23, observed on its requests.
BEARER_LENGTH = 57

_INSECURE = "__force_insecure"
_MAX_FILE = 64 * 1024  # bytes; a file longer than that is not a key file
_LOG_IN = "run `fwsync login`, or set FWSYNC_API_KEY or --api-key-file"
_FORM = "expected host:key or host:port:key, as your Flywheel profile page shows it"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A site and the secret that opens it."""

    host: str  #: a name, or an IPv6 address in brackets
    port: int | None  #: None: the scheme's own
    insecure: bool  #: plain HTTP: for a sandbox on this machine
    secret: str = field(repr=False)

    @property
    def site(self) -> str:
        """The host, and the port where it is not the scheme's own."""
        own = 80 if self.insecure else 443
        return self.host if self.port in (None, own) else f"{self.host}:{self.port}"

    @property
    def base_url(self) -> str:
        """Where the API's paths begin, without a slash at the end."""
        port = "" if self.port is None else f":{self.port}"
        return f"{'http' if self.insecure else 'https'}://{self.host}{port}/api"

    @property
    def authorization(self) -> str:
        """The value of the ``Authorization`` header; secret."""
        scheme = "Bearer" if len(self.secret) == BEARER_LENGTH else "scitran-user"
        return f"{scheme} {self.secret}"

    @property
    def text(self) -> str:
        """The key as it is stored, in the form that every Flywheel tool reads; secret."""
        parts = [self.host]
        if self.port is not None or self.insecure:
            parts.append(str(self.port or (80 if self.insecure else 443)))
        if self.insecure:
            parts.append(_INSECURE)
        return ":".join([*parts, self.secret])

    def __str__(self) -> str:
        return f"API key for {self.host}"


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key, where it was found, and what is to be said about that place."""

    key: ApiKey
    place: str
    warning: str = ""  #: one line for the user, or empty


def parse_key(text: str, *, place: str = "the API key") -> ApiKey:
    """Read a key in any form that Flywheel's own tools accept.

    ``[bearer |scitran-user ][http[s]://]host[:port][:__force_insecure]:secret``, an IPv6
    host in brackets.

    Args:
        text: the key; white space around it does not count.
        place: where it comes from, for the error.

    Raises:
        AuthError: it is not a key. The text of the error holds no part of it.
    """
    rest = text.strip()
    for prefix in ("bearer ", "scitran-user "):
        if rest.lower().startswith(prefix):
            rest = rest[len(prefix) :].lstrip()
    insecure = False
    for scheme in ("https://", "http://"):
        if rest.lower().startswith(scheme):
            insecure = scheme == "http://"
            rest = rest[len(scheme) :]
    host, parts = _split_host(rest, place)
    secret = parts.pop()
    if not secret or not all("!" <= character <= "~" for character in secret):
        raise _not_a_key(place, "its last part, the secret, is empty or has characters no key has")
    if _INSECURE in parts:
        parts.remove(_INSECURE)
        insecure = True
    if len(parts) > 1:
        raise _not_a_key(place, "it has too many parts")
    return ApiKey(host, _port(parts[0], place) if parts else None, insecure, secret)


def _split_host(text: str, place: str) -> tuple[str, list[str]]:
    if text.startswith("["):
        address, bracket, rest = text.partition("]")
        if not bracket or not rest.startswith(":"):
            raise _not_a_key(place, "its IPv6 address has no closing bracket")
        host, parts = f"{address}]", rest[1:].split(":")
        allowed = set("[]:.%0123456789abcdef")
    else:
        host, *parts = text.split(":")
        allowed = set("-._0123456789abcdefghijklmnopqrstuvwxyz")
    host = host.lower()
    if not parts:
        raise _not_a_key(place, "it does not name the site")
    if not host.strip("[]") or not set(host) <= allowed:
        raise _not_a_key(place, "it does not begin with the name of a site")
    return host, parts


def _port(text: str, place: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise _not_a_key(place, "its port is not a number from 1 to 65535")
    return int(text)


def _not_a_key(place: str, what: str) -> AuthError:
    return AuthError(f"{place} is not a Flywheel API key: {what}; {_FORM}", hint=_LOG_IN)


# ------------------------------------------------------------------------------ finding one


def find_key(
    *,
    key_file: Path | None,
    env: Mapping[str, str],
    home: Path | None = None,
    use_keyring: bool = True,
) -> FoundKey:
    """The API key to use: the first one found, in this order.

    1. ``key_file`` (``--api-key-file``)
    2. ``FWSYNC_API_KEY``
    3. the systemd credential ``$CREDENTIALS_DIRECTORY/fwsync-api-key``
    4. the keyring, where the extra is installed and a keyring is there
    5. ``$XDG_CONFIG_HOME/fwsync/api-key``, which `fwsync login` writes
    6. ``~/.config/flywheel/user.json`` of the official tools (``FLYWHEEL_USER_HOME``
       replaces the home); read, never written

    One that is there and is not a key is an error: going on to the next could work on the
    wrong site. A file that others can read gives a warning; one that others can write is
    refused, for whoever writes it decides where the data go.

    Raises:
        AuthError: none found, or the first one found cannot be used.
    """
    home = home or _home(env)
    looked: list[str] = []
    if key_file is not None:
        if found := _from_file(key_file):
            return found
        raise AuthError(f"{key_file}: there is no such API key file", hint=_LOG_IN)
    if env.get(VARIABLE, "").strip():
        return FoundKey(parse_key(env[VARIABLE], place=VARIABLE), VARIABLE)
    looked.append(VARIABLE)
    if credentials := env.get("CREDENTIALS_DIRECTORY"):
        path = Path(credentials) / CREDENTIAL
        if found := _from_file(path):
            return found
        looked.append(str(path))
    if use_keyring:
        if text := _from_keyring():
            return FoundKey(parse_key(text, place="the key in the keyring"), "the keyring")
        looked.append("the keyring")
    own = key_path(env, home=home)
    if found := _from_file(own):
        return found
    looked.append(str(own))
    official = Path(env.get("FLYWHEEL_USER_HOME") or home) / ".config/flywheel/user.json"
    if found := _from_file(official, unwrap=_unwrap_json):
        return found
    looked.append(str(official))
    raise AuthError(f"no API key found; looked in {', '.join(looked)}", hint=_LOG_IN)


def key_path(env: Mapping[str, str], *, home: Path | None = None) -> Path:
    """Where `fwsync login` keeps the key if there is no keyring."""
    base = env.get("XDG_CONFIG_HOME") or (home or _home(env)) / ".config"
    return Path(base) / "fwsync" / "api-key"


def _home(env: Mapping[str, str]) -> Path:
    if env.get("HOME"):
        return Path(env["HOME"])
    try:
        return Path.home()
    except RuntimeError:  # a container's user without an entry in passwd
        return Path("/")


def _from_file(
    path: Path,
    *,
    unwrap: Callable[[str, Path], str] = lambda text, _: text,
) -> FoundKey | None:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MAX_FILE + 1)
    except OSError as error:
        if not _is_there(path):
            return None
        raise AuthError(f"{path}: the API key cannot be read ({error.strerror})") from error
    warning = _exposed(path, mode)
    if len(content) > _MAX_FILE:
        raise AuthError(f"{path}: is too long for an API key file")
    text = unwrap(content.decode("utf-8", "replace").removeprefix("\ufeff"), path).strip()
    if not text and unwrap is _unwrap_json:
        return None  # what the official tools leave after a logout
    return FoundKey(parse_key(text, place=str(path)), str(path), warning)


def _is_there(path: Path) -> bool:
    """Is there such a file? A folder we may not enter (a service without a home) counts as no."""
    try:
        path.stat()
    except OSError:
        return False
    return True


def _exposed(path: Path, mode: int) -> str:
    """A warning if others can read the file; an error if they can write it (F104)."""
    if not stat.S_ISREG(mode):
        return ""
    others = mode & 0o077
    if others & 0o022:
        raise AuthError(
            f"{path}: others can write this API key file (mode {stat.S_IMODE(mode):04o})",
            hint=f"see that the key is yours, then run `chmod 600 {path}`",
        )
    if others & 0o044:
        return f"{path}: others can read this API key; run `chmod 600 {path}`"
    return ""


def _unwrap_json(text: str, path: Path) -> str:
    try:
        content = json.loads(text)
    except ValueError:
        # "from None": the message of the JSON error is harmless, the text it holds is not.
        raise AuthError(f"{path}: is not JSON; expected what `fw login` writes") from None
    key = content.get("key", "") if isinstance(content, dict) else None
    if not isinstance(key, str):
        raise AuthError(f'{path}: has no text under "key"; expected what `fw login` writes')
    return key


def _from_keyring() -> str | None:
    """The key in the keyring, or None: not installed, locked and nobody to ask, or empty."""
    try:
        return import_module("keyring").get_password(*KEYRING) or None
    except Exception:  # a keyring has many back-ends, each with errors of its own
        return None


# ------------------------------------------------------------------------------ storing one


def store_key(
    key: ApiKey, *, env: Mapping[str, str], home: Path | None = None, keyring: bool = False
) -> str:
    """Keep a key for later runs.

    Args:
        key: already parsed, and better already tried.
        env: the environment.
        home: stands in for the user's home.
        keyring: keep it in the keyring, if one is there and takes it.

    Returns:
        The place it was put.

    Raises:
        AuthError: it cannot be written.
    """
    path = key_path(env, home=home)
    if keyring:
        try:
            import_module("keyring").set_password(*KEYRING, key.text)
        except Exception:  # noqa: S110  # see _from_keyring; the file is always there
            pass
        else:
            path.unlink(missing_ok=True)  # an older key must not come back to life
            return "the keyring"
    try:
        _write_secret(path, f"{key.text}\n")
    except OSError as error:
        raise AuthError(f"{path}: the API key cannot be written ({error.strerror})") from error
    return str(path)


def _write_secret(path: Path, text: str) -> None:
    """Write aside, readable by nobody else at any time; then rename."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        aside.unlink()
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123  # by descriptor
            file.write(text)
            file.flush()
            os.fsync(fd)
        aside.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            aside.unlink()
        raise
