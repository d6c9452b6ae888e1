"""What went wrong on the wire, as one of our errors: status, cause and hint in one place.

No text made here may hold the API key, a ticket or a signature: what a server or a
library says goes through :class:`Cleaner` first.
"""

from __future__ import annotations

import html
import json
import os
import re
import ssl
import string
from dataclasses import dataclass

import aiohttp
from yarl import URL

from fwsync.errors import (
    AuthError,
    Forbidden,
    FwsyncError,
    Garbled,
    NotFound,
    Refused,
    RemoteError,
    Unavailable,
)

_SHOWN = 200  # characters of a foreign text that we repeat
_SHOWN_OF_PAGE = 80  # characters of a web page: it was written for somebody else
#: How the clouds' object stores say why; what follows may repeat the request and its signature.
_OF_A_STORE = re.compile(r"<Error>\s*<Code>([^<]{1,100})</Code>\s*<Message>([^<\n]{0,200})")
_TOO_LARGE = (
    "the site, or a proxy before it, takes no request of this size: its administrator can"
    " raise the limit"
)
_LATER = (408, 425, 429, 502, 503, 504)
#: ``lower()`` may make a text longer (İ), and what is found in the one is cut from the other.
_SMALL = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class Cleaner:
    """Makes a foreign text fit for one line of ours: bounded, printable, without the key."""

    def __init__(self, *secrets: str) -> None:
        self._secrets = tuple(secret for secret in secrets if len(secret) > 3)

    def __repr__(self) -> str:
        return "Cleaner(…)"

    def __call__(self, text: str) -> str:
        """The text, safe to print."""
        text = text[: _SHOWN * 50]
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = " ".join(text.split())
        shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[:_SHOWN])
        return shown + "…" if len(text) > _SHOWN else shown


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt that did not bring what was asked for."""

    error: FwsyncError
    processed: bool = True  #: False: the server has certainly not acted on it
    final: bool = False  #: True: the next attempt will end the same way


def error_for_status(
    status: int, what: str, said: str, *, asked_s: float | None = None
) -> FwsyncError:
    """The one place where a status becomes an error.

    Args:
        status: of an answer that is not a success.
        what: the request, in words, for the text.
        said: what the server gave as its reason, cleaned; may be empty.
        asked_s: what ``Retry-After`` asked for.
    """
    text = _text(status, what, said)
    if status in (401, 402):
        return AuthError(
            f"{text}: the API key was refused",
            hint="check the key with `fwsync login`; it may have expired or been withdrawn",
        )
    if status == 407:
        return AuthError(f"{text}: the proxy wants a login", hint="check HTTPS_PROXY")
    if status == 403:
        return Forbidden(text, status=status, hint="ask an admin of the project for the right role")
    if status in (404, 410):
        return NotFound(text, status=status)
    if status in _LATER:
        later = Unavailable(text, status=status, retry_after_s=asked_s)
        later.silent = status == 504  # a proxy that lost patience with what is behind it
        return later
    if 400 <= status < 500 or status in (501, 505, 507):
        return Refused(text, status=status, hint=_TOO_LARGE if status == 413 else "")
    if status >= 500:
        error = RemoteError(text, status=status)
        error.retryable = True
        return error
    return Garbled(f"{text}: not an answer to this request", status=status)


def error_for_address(
    status: int, what: str, said: str, *, asked_s: float | None = None
) -> FwsyncError:
    """The same for a signed address, to which no key goes.

    It is the address that is refused: nothing follows for the key, the container or its rights.
    """
    if 400 <= status < 500 and status not in (407, *_LATER):
        return Refused(_text(status, what, said), status=status)
    return error_for_status(status, what, said, asked_s=asked_s)


def not_surely_gone(path: str, level: str) -> NotFound:
    """For a file that is not found, in a container that is not found either."""
    error = NotFound(
        f"{path}: the server does not find it, nor the {level} that it is in",
        status=404,
        hint="it is not taken for deleted; the next run lists the project, and sees what is there",
    )
    error.retryable = True
    return error


def _text(status: int, what: str, said: str) -> str:
    return f"{what}: {status}" + (f" ({said})" if said else "")


def reason_in(body: bytes, content_type: str, clean: Cleaner) -> str:
    """What the server gave as its reason: its message, or the first bytes."""
    text = body.decode("utf-8", "replace")
    if "json" in content_type:
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            parsed = None
        if isinstance(parsed, dict):
            said = parsed.get("message") or parsed.get("detail") or parsed.get("error")
            if said:
                return clean(said if isinstance(said, str) else json.dumps(said))
    if told := _OF_A_STORE.search(text):
        return clean(f"{told[1]}: {told[2]}")
    return page_in_words(text, clean) if is_page(text, content_type) else clean(text)


def is_page(text: str, content_type: str) -> bool:
    """True for a web page, whatever it calls itself."""
    return "html" in content_type or text.lstrip().startswith("<")


def page_in_words(page: str, clean: Cleaner) -> str:
    """A web page where an answer was expected, in a few words: its title, or how it begins."""
    small = page.translate(_SMALL)
    start = small.find(">", small.find("<title")) + 1 if "<title" in small else 0
    end = small.find("</title", start) if start else -1
    title = _plain(page[start:end], clean) if end >= 0 else ""
    if title:
        return f"an HTML page titled '{title}'"
    text = _plain(_without_tags(page, small), clean)
    return f"an HTML page that says '{text}'" if text else "an HTML page"


def _plain(text: str, clean: Cleaner) -> str:
    shown = clean(" ".join(html.unescape(text).split()))
    return shown if len(shown) <= _SHOWN_OF_PAGE else shown[:_SHOWN_OF_PAGE] + "…"


def _without_tags(page: str, small: str) -> str:
    """What is between the tags; each character is looked at a fixed number of times."""
    parts: list[str] = []
    at = 0
    while (tag := page.find("<", at)) >= 0:
        parts.append(page[at:tag])
        close = ">"
        for opening, ending in (("<!--", "-->"), ("<script", "</script>"), ("<style", "</style>")):
            if small.startswith(opening, tag):
                close = ending
        at = small.find(close, tag)
        if at < 0:
            return " ".join(parts)
        at += len(close)
    return " ".join([*parts, page[at:]])


def failure_for(error: Exception, url: URL, what: str, clean: Cleaner) -> Failure:
    """What an exception of the client library means."""
    host = clean(url.host_port_subcomponent or "?")
    if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError):
        return Failure(_tls_error(error, url, what, clean), processed=False, final=True)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        bad = error_for_status(error.status, f"{what}: the proxy", clean(error.message))
        return Failure(bad, processed=False, final=error.status == 407)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return _not_reached(error, host, what, clean)
    if isinstance(error, TimeoutError):
        silence = _later(
            f"{what}: nothing came from or went to {host} for too long",
            hint="check the network; the same command goes on where it stopped",
        )
        if isinstance(silence.error, Unavailable):
            silence.error.silent = True
        return silence
    if isinstance(error, aiohttp.InvalidURL):
        return Failure(Garbled(f"{what}: not an address that can be asked"), final=True)
    if isinstance(error, aiohttp.ClientResponseError):
        bad = Garbled(
            f"{what}: {host} does not speak HTTP as it should ({clean(error.message)})",
            hint="check the address and the port",
        )
        return Failure(bad, final=True)
    hint = ""
    if url.scheme == "http" and isinstance(error, aiohttp.ServerDisconnectedError):
        hint = "does the site want https? a key with __force_insecure in it is for plain HTTP"
    return _later(f"{what}: the connection to {host} broke ({type(error).__name__})", hint=hint)


def _not_reached(error: Exception, host: str, what: str, clean: Cleaner) -> Failure:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return _later(
            f"{what}: the name {host} cannot be resolved",
            hint="check the name, the network and the DNS of this machine",
            processed=False,
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        via = "the proxy" if isinstance(error, aiohttp.ClientProxyConnectionError) else host
        number = error.os_error.errno  # asyncio's own text names a Python call
        cause = os.strerror(number) if number else clean(str(error.os_error))
        return _later(
            f"{what}: no connection to {via} ({cause})",
            hint="check the address, the port and the firewall",
            processed=False,
        )
    return _later(
        f"{what}: no connection to {host} in time",
        hint="check the network and the firewall",
        processed=False,
    )


def _later(text: str, *, hint: str = "", processed: bool = True) -> Failure:
    return Failure(Unavailable(text, hint=hint), processed=processed)


#: OpenSSL's verify codes that have a cause a user can act on.
_TLS_HINTS = {
    9: "check the clock of this machine",
    10: "the server's certificate must be renewed (or the clock of this machine is wrong)",
    18: "name the file with the site's certificate in FW_SSL_CERT_FILE",
    19: "name the file with the site's CA in FW_SSL_CERT_FILE",
    20: "name the file with the site's CA in FW_SSL_CERT_FILE",
    21: "name the file with the site's CA in FW_SSL_CERT_FILE",
    62: "the address is not the one that the certificate was made for",
    64: "the address is not the one that the certificate was made for",
}


#: OpenSSL's name, a constant as its number is, for what is no TLS at all.
_NO_TLS = "WRONG_VERSION_NUMBER"


def _tls_error(error: Exception, url: URL, what: str, clean: Cleaner) -> Unavailable:
    cause: BaseException = error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
    if isinstance(cause, ssl.SSLCertVerificationError):
        name = clean(url.host or "?")  # it is made for the name, whatever the port
        return Unavailable(
            f"{what}: the certificate of {name} is not valid ({clean(cause.verify_message)})",
            hint=_TLS_HINTS.get(cause.verify_code, "ask the site's administrator"),
        )
    reason = cause.reason if isinstance(cause, ssl.SSLError) and cause.reason else str(cause)
    hint = "check the address and the port: does it speak https?"
    if reason == _NO_TLS:
        hint += (
            " it looks like plain HTTP; a key for a sandbox says so,"
            " as HOST:PORT:__force_insecure:KEY"
        )
    host = clean(url.host_port_subcomponent or "?")
    return Unavailable(f"{what}: no TLS connection to {host} ({clean(reason)})", hint=hint)
