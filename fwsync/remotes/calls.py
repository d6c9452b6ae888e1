"""A request as a value: where it goes, who it says it is, and whether it is sent again."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp import hdrs
from yarl import URL

from fwsync.errors import (
    AuthError,
    Forbidden,
    Garbled,
    Refused,
    RemoteError,
    Unavailable,
    UsageError,
)
from fwsync.remotes.body import Body
from fwsync.remotes.faults import Cleaner, Failure
from fwsync.remotes.pace import Pace, jitter_s

_BEARER_LENGTH = 57  # characters of a new-style key (sdk 23)
_MAX_REDIRECTS = 5
_TRIES_500 = 3
_LOOK_S = 1.0  # between two looks at what is under way, in a pause that is too long
_TRIES = 8  # of one request while the host answers others
_TRIES_SIGNED = 3  # of one signed address: whoever sends the file comes again, with a new one
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})

Params = Mapping[str, str | int | bool | None]


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as often as it is sent."""

    method: str
    url: URL
    what: str
    headers: Mapping[str, str]
    data: bytes | None = None
    body: Callable[[], Body] | None = None
    repeatable: bool = False
    hops: int = 0
    bare: bool = False  # without the key, wherever it goes
    answer_s: float | None = None  # how long nothing may come, where that is longer than usual


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store answered to a PUT that it took."""

    status: int  #: 2xx; or 308: it has some of it, and ``Range`` says how much
    headers: Mapping[str, str]  #: case does not matter


@dataclass(slots=True)
class Tries:
    """What one request has been through."""

    first: Call
    what: str  # the request in words, fit to be shown
    patience_s: float | None
    now: Callable[[], float]
    random: Callable[[], float]
    began: float
    failed: int = 0
    while_alive: int = 0  # of these, while the host answered other requests
    unauthorized: int = 0
    broken: int = 0  # 500
    expired: int = 0  # a signed address that is not valid any more
    last: Unavailable | None = None  # what came of the last try, where it may pass

    def again(self, call: Call, failure: Failure, pace: Pace, before: int) -> tuple[Call, float]:
        """The request to send next, and after how many seconds; or its error, raised.

        Args:
            call: what was sent last, after redirects.
            before: the pace's ``progress`` when it was sent.
        """
        error = failure.error
        if failure.final:
            raise error
        if isinstance(error, AuthError):
            self.unauthorized += 1
            if self.unauthorized > 1:
                raise error
            return self.first, 0.0
        moved = call.url.origin() != self.first.url.origin()
        if moved and isinstance(error, Forbidden | Refused):
            self.expired += 1  # a signed address lives for seconds: ask for a new one
            if self.expired > 2:
                raise error
            return self.first, 0.0
        if not isinstance(error, Unavailable):
            self.broken += 1
            may = isinstance(error, RemoteError) and error.retryable
            harmless = call.method in ("GET", "HEAD") or call.bare  # a store's 500 passes
            if not may or not harmless or self.broken >= _TRIES_500:
                raise error
            return self.first, jitter_s(self.broken, self.random)
        if failure.processed and not call.repeatable and call.method not in _IDEMPOTENT:
            raise error
        return self.first, self._wait(error, pace, before)

    def _wait(self, error: Unavailable, pace: Pace, before: int) -> float:
        self.last = error
        if error.retry_after_s is not None and not self.failed:
            self.began = self.now()  # it is there: what it asks for is measured from here
        if pace.progress > before:
            self.while_alive += 1
            if self.while_alive >= (_TRIES_SIGNED if self.first.bare else _TRIES):
                raise error
        wait = jitter_s(self.failed, self.random)
        self.failed += 1
        if self.patience_s is not None:
            wait = min(wait, self.until(pace) - self.now())
        return wait

    def until(self, pace: Pace) -> float:
        """Until when may be waited before this is asked again: at most to the patience's end.

        Raises:
            Unavailable: it is at its end; or the server asks for a pause that is longer, and
                nothing is under way that could still come.
        """
        if self.patience_s is None:
            return float("inf")
        end = max(pace.last_progress, self.began) + self.patience_s
        over = end <= self.now()
        too_long = bool(pace.asked) and pace.open_at > end
        if too_long and (over or not pace.in_flight):
            raise Unavailable(
                f"{self.what}: {pace.asked}",
                status=self.last.status if self.last else 0,
                hint="try again then, or with a longer --patience",
            )
        if over:
            raise self.last or Unavailable(f"{self.what}: the server does not answer")
        return min(end, self.now() + _LOOK_S) if too_long else end


class Authorize:
    """The key goes to the API's own origin, and nowhere else: not after a redirect either.

    It replaces whatever is there, so no other source of logins (``~/.netrc``) can win.
    """

    def __init__(self, origin: URL, key: str, count: Callable[[], None]) -> None:
        scheme = "Bearer" if len(key) == _BEARER_LENGTH else "scitran-user"
        self._origin = origin
        self._header = f"{scheme} {key}" if key else ""
        self._count = count

    def __repr__(self) -> str:
        return f"<Authorize {self._origin}>"

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Sign one request, and count it."""
        request.headers.pop(hdrs.AUTHORIZATION, None)
        if self._header and request.url.origin() == self._origin:
            request.headers[hdrs.AUTHORIZATION] = self._header
        self._count()
        return await handler(request)


def address(base: URL, path: Sequence[str], params: Params | None) -> URL:
    """Where a call goes: plain segments below the base, each encoded whole."""
    url = "/".join([str(base), *map(_segment, path)])
    told = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in (params or {}).items()
        if value is not None
    }
    return URL(f"{url}?{urlencode(told)}" if told else url, encoded=True)


def redirected(call: Call, response: aiohttp.ClientResponse, clean: Cleaner) -> Call | Failure:
    """The request that a redirect asks for; only reading is sent elsewhere."""
    what = clean(call.what)
    try:
        location = URL(response.headers.get(hdrs.LOCATION, ""), encoded=True)
        url = call.url.join(location)
        same = url.origin() == call.url.origin()
    except ValueError:
        return Failure(Garbled(f"{what}: redirected to no address"), final=True)
    if call.hops >= _MAX_REDIRECTS:
        return Failure(Garbled(f"{what}: redirected in circles"), final=True)
    if url.scheme not in ("http", "https") or (call.url.scheme, url.scheme) == (
        "https",
        "http",
    ):
        return Failure(Garbled(f"{what}: redirected to an unsafe address"), final=True)
    if call.method not in ("GET", "HEAD"):
        there = clean(str(url.origin()))
        return Failure(
            Refused(
                f"{what}: the server says that it has moved to {there}",
                status=response.status,
                hint="bytes go only where the site says: tell the administrator of its storage"
                if call.bare
                else "log in there with `fwsync login`",
            ),
            final=True,
        )
    headers = call.headers
    if not same:
        kept = (hdrs.RANGE, hdrs.IF_RANGE, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING)
        headers = {name: value for name, value in headers.items() if name in kept}
    return replace(call, url=url, headers=headers, hops=call.hops + 1)


async def first_bytes(response: aiohttp.ClientResponse) -> bytes:
    """Up to 64 KiB of an error's body; what is lost of it is no second error."""
    try:
        return await response.content.read(64 * 1024)
    except (aiohttp.ClientError, TimeoutError, OSError):
        return b""


def _segment(text: str) -> str:
    # Dots alone would be taken for "this folder" and "the one above" on the way.
    return text.replace(".", "%2E") if text in (".", "..") else quote(text, safe="")


def proxy_in_environment(url: URL) -> str | None:
    """The proxy that HTTPS_PROXY and NO_PROXY name for an address."""
    proxy = getproxies().get(url.scheme)
    if not proxy or (url.host and proxy_bypass(f"{url.host}:{url.port}")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def trust_also(ca_file: str) -> ssl.SSLContext:
    """The system's certificates and those in a file; reads the disk."""
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"{ca_file}: not a file of certificates ({error.strerror or error})",
            hint="FW_SSL_CERT_FILE must name a PEM file with the site's CA",
        ) from None
    return context
