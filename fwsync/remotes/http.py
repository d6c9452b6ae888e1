"""The wire: one session, one key, one pace for each host. The only user of the HTTP client.

Its rule: whatever happens comes out as one of our errors, and none of them, nor any
``repr``, holds the key. What may be repeated is repeated here; the rest is raised.
"""

from __future__ import annotations

import asyncio
import json
import random as dice
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import aiohttp
from aiohttp import hdrs
from pydantic_core import from_json
from yarl import URL

from fwsync._version import __version__
from fwsync.errors import (
    Garbled,
    Unavailable,
    UsageError,
)
from fwsync.remotes.body import Body
from fwsync.remotes.calls import (
    Authorize,
    Call,
    Params,
    Stored,
    Tries,
    address,
    first_bytes,
    proxy_in_environment,
    redirected,
    trust_also,
)
from fwsync.remotes.faults import (
    Cleaner,
    Failure,
    error_for_address,
    error_for_status,
    failure_for,
    is_page,
    page_in_words,
    reason_in,
)
from fwsync.remotes.pace import Pace, retry_after_s
from fwsync.remotes.throttle import Throttle

__all__ = ["Answer", "Api", "Body", "Params", "Reader"]

CONNECT_S = 10.0  #: seconds for name, connection and handshake (sdk 23's default)
STALL_S = 60.0  #: seconds without a byte in either direction (sdk 23's read time-out)
#: Bytes a second that whoever takes a body is given for storing it, from its last byte to the
#: first one of the answer, on top of the stall: it may hash and copy all of it then, and a second
#: body that is sent into that would be a second version.
STORED_A_SECOND = 20e6
READ = 2**18  #: bytes that are read of a body at a time, at most
READ_LEAST = 2**12  #: bytes that are read ahead under the slowest limit
MAX_JSON = 256 * 2**20  #: bytes; no page of ours comes near, a runaway answer stops here

T = TypeVar("T")

#: Makes an object of the bytes of an answer; ValueError: it cannot.
Reader = Callable[[bytearray], object]


class Answer:
    """A successful answer whose body is still to be read."""

    def __init__(self, api: Api, response: aiohttp.ClientResponse, pace: Pace, what: str) -> None:
        self._api = api
        self._response = response
        self._pace = pace
        self._what = what

    @property
    def status(self) -> int:
        """200, 206, …."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """Case does not matter."""
        return self._response.headers

    @property
    def size(self) -> int | None:
        """Bytes that are announced, or None."""
        if self._response.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
            return None
        return self._response.content_length

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body.

        Raises:
            Unavailable: it broke off, or nothing came for too long.
        """
        failure: Failure | None = None
        try:
            while chunk := await self._api.piece(self._response, self._pace):
                yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            failure = self._api.failure(error, self._response.url, self._what)
        if failure is not None:
            raise failure.error

    def release(self) -> None:
        """Give the connection back, or close it if the body was not read to its end."""
        self._response.release()


class Api:
    """A Flywheel site's API, with a key.

    Use it as ``async with Api(…) as api``. A path is a sequence of plain segments below
    ``/api``; each is percent-encoded here, so that a name can hold any character.

    Args:
        url: scheme, host and port.
        key: the bare API key, or empty for none.
        ca_file: certificates to trust besides the system's.
        patience_s: how long nothing at all may come from a host before
            :class:`Unavailable` is raised; None: for ever.
        in_flight: requests to one host at a time, at most.
        stall_s: how long one request may stand still.
        now: monotonic seconds. wall: seconds since 1970. random: uniform in [0, 1).
    """

    def __init__(
        self,
        url: str,
        key: str = "",
        *,
        ca_file: str | None = None,
        patience_s: float | None = 60.0,
        in_flight: int = 16,
        stall_s: float = STALL_S,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = dice.random,
    ) -> None:
        base = URL(url.rstrip("/"))
        if base.scheme not in ("http", "https") or not base.host:
            raise UsageError("the server's address is not of the form https://host")
        self.url = base if base.path.endswith("/api") else base / "api"
        self.requests = 0  #: HTTP requests sent, repeats included
        self.bytes_sent = 0  #: of bodies
        self.bytes_received = 0  #: of bodies, after decompression
        #: Is told when the server makes us wait, in words for a person; set it before asking.
        self.tell: Callable[[str], None] = lambda _: None
        #: The bandwidth that all bodies share, to and from all hosts; without a limit at first.
        self.throttle = Throttle()
        self._clean = Cleaner(key)
        self._middleware = Authorize(self.url.origin(), key, self._count)
        self._without_key = Authorize(self.url.origin(), "", self._count)
        self._ca_file = ca_file
        self._patience_s = patience_s
        self._limit = in_flight
        # Nobody waits longer for one answer than for all of them.
        self._stall_s = stall_s if patience_s is None else min(stall_s, max(patience_s, 1.0))
        self._now, self._wall, self._sleep, self._random = now, wall, sleep, random
        self._paces: dict[URL, Pace] = {}
        self._proxies: dict[URL, str | None] = {}
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"<Api {self.url.origin()}>"

    def _count(self) -> None:
        self.requests += 1

    async def __aenter__(self) -> Self:
        context: ssl.SSLContext | bool = True
        if self._ca_file:
            context = await asyncio.to_thread(trust_also, self._ca_file)
        self._session = aiohttp.ClientSession(
            # The pace is the limit; the pool only must not be a smaller one, since waiting
            # for a free connection would count as a connection time-out.
            connector=aiohttp.TCPConnector(
                limit=8 * self._limit, limit_per_host=4 * self._limit, ssl=context
            ),
            timeout=_timeouts(self._stall_s),
            headers={hdrs.USER_AGENT: f"fwsync/{__version__}"},
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(self._middleware,),
            trust_env=False,  # it would read ~/.netrc; proxies are looked up below
            read_bufsize=READ,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
            await asyncio.sleep(0)  # lets the transports go

    # ------------------------------------------------------------------------- asking

    async def json(
        self,
        method: str,
        path: Sequence[str],
        *,
        params: Params | None = None,
        body: object = None,
        repeatable: bool = False,
        features: str = "",
        answer_s: float | None = None,
        what: str = "",
        read: Reader | None = None,
    ) -> object:
        """One request with a JSON answer; None where the answer is empty.

        Args:
            method: GET, POST, …
            path: segments below ``/api``.
            params: of the query; None values are left out.
            body: sent as JSON where it is not None.
            repeatable: a POST that changes nothing, or does no harm twice.
            features: for ``x-accept-feature``.
            answer_s: how long the server may work on it before a byte of the answer comes,
                where that may be longer than usual, in seconds.
            what: the request in words, for error texts.
            read: reads the answer where it can; what it does not take is read as any JSON is.

        Raises:
            AuthError, RemoteError: as the tree in :mod:`fwsync.errors` says.
        """
        headers: dict[str, str] = {hdrs.ACCEPT: "application/json"}
        if features:
            headers["x-accept-feature"] = features
        data = None
        if body is not None:
            headers[hdrs.CONTENT_TYPE] = "application/json"
            data = json.dumps(body).encode()
        call = Call(
            method,
            address(self.url, path, params),
            what or f"{method} /{'/'.join(path)}",
            headers,
            data=data,
            repeatable=repeatable,
            answer_s=answer_s,
        )
        return await self._run(call, partial(self._read_json, read=read))

    async def send(
        self,
        path: Sequence[str],
        body: Callable[[], Body],
        *,
        params: Params | None = None,
        what: str = "",
    ) -> object:
        """POST a streamed body; the JSON answer.

        It is sent a second time only where the first was certainly not acted on. After its last
        byte the answer may take as long as any, and a second more for each
        :data:`STORED_A_SECOND` bytes.

        Raises:
            FwsyncError: what the source of the body raised, or as :meth:`json`.
        """
        call = Call(
            "POST",
            address(self.url, path, params),
            what or f"POST /{'/'.join(path)}",
            {hdrs.ACCEPT: "application/json"},
            body=body,
        )
        return await self._run(call, self._read_json)

    async def put_signed(
        self,
        url: str,
        body: Callable[[], Body] | None,
        *,
        headers: Mapping[str, str] | None = None,
        what: str = "",
    ) -> Stored:
        """PUT to a signed address; what the store answered.

        Nothing of the key goes there, not even to an address on the API's own host: the address
        is the permission, and a store refuses a second one. Nor does a Content-Type, unless
        ``headers`` has one: older signatures cover it.

        Args:
            url: encoded, as it was given.
            body: made anew for each try; None: there is none, which is a question.
            headers: that the store wants.
            what: the request in words, for error texts.

        Raises:
            Refused: any 4xx that is no "later": the address is not good, or not any more.
            RemoteError: as :meth:`json`. What the source of the body raised.
        """
        call = Call(
            "PUT",
            URL(url, encoded=True),
            what or "PUT to storage",
            dict(headers or {}),
            body=body,
            bare=True,
        )

        async def finish(response: aiohttp.ClientResponse, pace: Pace) -> Stored:
            pace.succeeded()
            response.release()
            return Stored(response.status, response.headers)

        return await self._run(call, finish)

    @asynccontextmanager
    async def stream(
        self,
        path: Sequence[str],
        *,
        method: str = "GET",
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        question: object = None,
        answer_s: float | None = None,
        what: str = "",
    ) -> AsyncIterator[Answer]:
        """GET something whose body is read piece by piece; redirects to storage are followed.

        With another method it is sent a second time only where the first was certainly not
        acted on, or it is a ``question``, which is sent as JSON and changes nothing.
        ``answer_s`` is as in :meth:`json`, and holds between two bytes too.

        Raises:
            AuthError, RemoteError: from the start; :meth:`Answer.chunks` has its own.
        """
        call = Call(
            method,
            address(self.url, path, params),
            what or f"{method} /{'/'.join(path)}",
            {hdrs.ACCEPT: "*/*", hdrs.ACCEPT_ENCODING: "identity", **(headers or {})}
            | ({} if question is None else {hdrs.CONTENT_TYPE: "application/json"}),
            data=None if question is None else json.dumps(question).encode(),
            repeatable=question is not None,
            answer_s=answer_s,
        )

        async def finish(response: aiohttp.ClientResponse, pace: Pace) -> Answer:
            pace.succeeded()
            return Answer(self, response, pace, call.what)

        answer = await self._run(call, finish)
        try:
            yield answer
        finally:
            answer.release()

    def pace_of(self, url: URL | None = None) -> Pace:
        """The pace of a host; of the API's, if none is given."""
        origin = (url or self.url).origin()
        pace = self._paces.get(origin)
        if pace is None:
            pace = Pace(
                self._limit,
                now=self._now,
                sleep=self._sleep,
                random=self._random,
                tell=self.tell,
            )
            self._paces[origin] = pace
        return pace

    # ------------------------------------------------------------------- one request

    async def _run(
        self,
        call: Call,
        finish: Callable[[aiohttp.ClientResponse, Pace], Awaitable[T | Failure]],
    ) -> T:
        what = self._clean(call.what)
        tries = Tries(call, what, self._patience_s, self._now, self._random, self._now())
        while True:
            pace = self.pace_of(call.url)
            async with pace.slot(partial(tries.until, pace)) as started:
                before = pace.progress
                result = await self._once(call, pace, started, finish)
            if isinstance(result, Call):
                call = result
            elif isinstance(result, Failure):
                call, wait = tries.again(call, result, pace, before)
                await self._sleep(wait)
            else:
                return result

    async def _once(
        self,
        call: Call,
        pace: Pace,
        started: float,
        finish: Callable[[aiohttp.ClientResponse, Pace], Awaitable[T | Failure]],
    ) -> T | Failure | Call:
        body = call.body() if call.body else None
        if body is not None:
            body.bind(lambda count: self._sent(count, pace), self._stall_s, self.throttle)
        response: aiohttp.ClientResponse | None = None
        whole = False
        caught: Exception | None = None
        try:
            response = await self._request(call, body)
            result = await self._judge(call, response, pace, started, finish)
            whole = not isinstance(result, Failure | Call)
            if whole or body is None or body.error is None:
                return result
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            caught = error
        finally:
            if response is not None and not whole:
                response.close()
            if body is not None:
                await body.settle()
        # Raised here, outside the `except`: what the library raised holds our headers.
        if body is not None and body.error is not None:
            raise body.error
        assert caught is not None
        failure = self.failure(caught, call.url, call.what)
        if not failure.final:
            pace.failed(started=started)
        return failure

    async def _request(self, call: Call, body: Body | None) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("the Api is used outside its `async with`")
        if call.data:
            await self.throttle.spend(len(call.data))
        # What is read ahead has crossed the line already: under a limit, little is.
        ahead = READ if self.throttle.rate is None else max(READ_LEAST, self.throttle.grain)
        return await self._session.request(
            call.method,
            call.url,
            headers=call.headers,
            data=body if body is not None else call.data,
            allow_redirects=False,
            read_bufsize=ahead,
            proxy=await self._proxy_for(call.url),
            timeout=_timeouts(max(self._stall_s + _storing_s(body), call.answer_s or 0.0)),
            middlewares=(self._without_key,) if call.bare else None,
            skip_auto_headers=(hdrs.CONTENT_TYPE,) if call.bare else None,
        )

    async def _judge(
        self,
        call: Call,
        response: aiohttp.ClientResponse,
        pace: Pace,
        started: float,
        finish: Callable[[aiohttp.ClientResponse, Pace], Awaitable[T | Failure]],
    ) -> T | Failure | Call:
        status = response.status
        # "Resume Incomplete": an answer of Cloud Storage, and no redirect.
        partly = status == 308 and call.bare and hdrs.LOCATION not in response.headers
        if 200 <= status < 300 or partly:
            return await finish(response, pace)
        if status in (301, 302, 303, 307, 308):
            pace.succeeded()
            return redirected(call, response, self._clean)
        said = reason_in(
            await first_bytes(response), response.headers.get(hdrs.CONTENT_TYPE, ""), self._clean
        )
        asked_s = None
        if status in (429, 503):
            asked_s = retry_after_s(
                response.headers.get(hdrs.RETRY_AFTER),
                date=response.headers.get(hdrs.DATE),
                wall=self._wall(),
            )
        error_for = error_for_address if call.bare else error_for_status
        error = error_for(status, self._clean(call.what), said, asked_s=asked_s)
        if isinstance(error, Unavailable):
            pace.failed(started=started, asked_s=asked_s, busy=status == 429)
        elif status < 500:
            pace.succeeded()
        return Failure(error, processed=status not in (401, 429))

    async def _read_json(
        self, response: aiohttp.ClientResponse, pace: Pace, read: Reader | None = None
    ) -> object | Failure:
        body = bytearray()
        while chunk := await self.piece(response, pace):
            body += chunk
            if len(body) > MAX_JSON:
                return Failure(Garbled("the answer is longer than any that makes sense"))
        pace.succeeded()
        response.release()
        if not body:
            return None
        content_type = response.headers.get(hdrs.CONTENT_TYPE, "")
        shown = bytes(body[: 64 * 1024]).decode("utf-8", "replace")
        where = f"{response.method} {self._clean(response.url.path)}"
        if is_page(shown, content_type):
            return Failure(
                Garbled(
                    f"{where}: not an answer, but {page_in_words(shown, self._clean)}",
                    status=response.status,
                    hint="is there a proxy or a login page between here and the server?",
                )
            )
        for reader in filter(None, (read, _parsed)):
            try:
                return reader(body)
            except (ValueError, RecursionError):
                pass
        return Failure(
            Garbled(
                f"{where}: the answer cannot be read: {self._clean(shown[:500])}",
                status=response.status,
            )
        )

    async def piece(self, response: aiohttp.ClientResponse, pace: Pace) -> bytes:
        """The next of what a body brings, as fast as the throttle lets it through; b"": its end."""
        most = READ if self.throttle.rate is None else self.throttle.grain
        chunk = await response.content.read(most)
        if chunk:
            await self.throttle.spend(len(chunk))
            self.bytes_received += len(chunk)
            pace.progressed()
        return chunk

    def _sent(self, count: int, pace: Pace) -> None:
        self.bytes_sent += count
        pace.progressed()

    def failure(self, error: Exception, url: URL, what: str) -> Failure:
        """What an exception of the client library means."""
        return failure_for(error, url, self._clean(what), self._clean)

    async def _proxy_for(self, url: URL) -> str | None:
        origin = url.origin()
        if origin not in self._proxies:
            self._proxies[origin] = await asyncio.to_thread(proxy_in_environment, url)
        return self._proxies[origin]


def _storing_s(body: Body | None) -> float:
    """How much longer than other answers that to a body may take, in seconds.

    The client counts from the last byte that was sent (aiohttp 3.14, observed).
    """
    return 0.0 if body is None else (body.size or 0) / STORED_A_SECOND


def _timeouts(stall_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=None, connect=CONNECT_S, sock_connect=CONNECT_S, sock_read=stall_s
    )


def _parsed(body: bytearray) -> object:
    """JSON as Python's own reader has it, in two thirds of its time.

    Raises:
        ValueError: it is none.
        RecursionError: it is too deep.
    """
    try:
        return from_json(body)
    except ValueError:  # half a surrogate pair, UTF-16, …: Python's own takes more
        return json.loads(body)
