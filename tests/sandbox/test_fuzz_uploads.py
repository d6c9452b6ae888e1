"""Broken bodies for every route that takes a form: a 4xx in the shape of an error, or a 200.

Never a 5xx, never a file left on its way in, never anything written but what the data folder
holds under names of its own, whatever a file was said to be called.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fwsync.sandbox import Sandbox, running_sandbox
from tests.sandbox.api import Tree, client, plant, settled

pytestmark = pytest.mark.row("upload-broken", "error-shape", "packfile-errors")

BOUNDARY = b"0b0undary0"
LABEL = {
    "group": {"_id": "grp"},
    "project": {"label": "Proj", "files": [{"name": "a.txt"}, {"name": "passwd"}]},
    "session": {"label": "ses", "uid": "1.2", "subject": {"code": "sub"}},
    "acquisition": {"label": "acq", "uid": "1.2.3", "files": [{"name": "b.txt"}]},
}
#: What may lie in a data folder, and nothing else.
OURS = re.compile(r"sandbox\.db(-wal|-shm)?|lock|incoming|blobs(/[0-9a-f]{2}(/[0-9a-f]{94})?)?")


@dataclass(frozen=True)
class Field:
    """One sandbox for all the examples, and what is around its data folder."""

    runner: asyncio.Runner
    sandbox: Sandbox
    tree: Tree
    token: str
    around: Path
    data: Path


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    around = tmp_path_factory.mktemp("around")
    (around / "neighbour").mkdir()
    (around / "neighbour" / "file").write_bytes(b"mine")
    data = around / "site" / "data"
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def begin() -> tuple[Sandbox, Tree, str]:
            sandbox = await stack.enter_async_context(running_sandbox(data, max_upload=1 << 20))
            async with client(sandbox.url, sandbox.api_key) as api:
                tree = await plant(api)
                start = await api.ask("POST", f"/projects/{tree.project}/packfile-start")
            return sandbox, tree, start.json["token"]

        made = runner.run(begin())
        try:
            yield Field(runner, *made, around, data)
        finally:
            runner.run(stack.aclose())


# -------------------------------------------------------------------------------- the bodies

HOSTILE = [
    "../../neighbour/file",
    "..",
    ".",
    "",
    "/",
    "/etc/passwd",
    "..\\..\\neighbour\\file",
    "C:\\windows\\system.ini",
    "%2e%2e%2fneighbour%2ffile",
    "a/../../b",
    "x" * 300,
    "ä" * 150,
    "nul\0byte",
    'quo"te.txt',
    'a\\"b"; filename="../c',
    "a;b=c.txt",
    "line\rbreak\n.txt",
    "~root",
    "-rf",
    "sandbox.db",
    "incoming/1",
    "\u202etxt.exe",
    "\ufeffa.txt",
    "con",
    "metadata",
]
names = st.sampled_from(HOSTILE) | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
raw_names = names.map(str.encode) | st.binary(max_size=40)


@st.composite
def dispositions(draw: st.DrawFn) -> bytes:
    """One Content-Disposition, right or wrong."""
    form = draw(st.integers(0, 6))
    name = draw(raw_names)
    field_name = draw(st.sampled_from([b"file", b"metadata", b"files", b"", b"\xff"]))
    if form == 0:
        return b'form-data; name="%s"; filename="%s"' % (field_name, name)
    if form == 1:
        return b"form-data; name=%s; filename=%s" % (field_name, name)
    if form == 2:
        return b"form-data; name=f; filename*=utf-8''" + quote(name).encode()
    if form == 3:
        charset = draw(st.sampled_from([b"utf-16", b"nonsense", b"", b"idna", b"rot13"]))
        return b"form-data; filename*=" + charset + b"''" + quote(name).encode()
    if form == 4:
        return b'form-data; name="%s"' % field_name
    if form == 5:
        return b'attachment; filename="%s"' % name
    return draw(st.binary(max_size=60))


@st.composite
def parts(draw: st.DrawFn) -> bytes:
    """One part with its headers."""
    headers = [b"Content-Disposition: " + draw(dispositions())]
    if draw(st.integers(0, 9)) == 0:
        headers.append(b"X-Long: " + b"x" * draw(st.sampled_from([100, 9000, 40_000])))
    if draw(st.booleans()):
        headers.insert(draw(st.integers(0, 1)), b"Content-Type: text/plain")
    if draw(st.integers(0, 9)) == 0:
        headers = draw(st.lists(st.binary(max_size=20), max_size=3))
    content = draw(
        st.binary(max_size=60)
        | st.sampled_from([b"", b"\r\n", b"--" + BOUNDARY, b"x" * 70_000, b"x" * (1 << 20 | 9)])
    )
    return b"\r\n".join(headers) + b"\r\n\r\n" + content


metadata = (
    st.just(json.dumps(LABEL).encode())
    | st.binary(max_size=40)
    | st.sampled_from([b"", b"null", b"[]", b"{}", b"NaN", b'{"group":{"_id":"\\ud800"}}'])
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from([*LABEL, "label", "_id", "files", "uid"]), inner)
        ),
        max_leaves=8,
    ).map(lambda told: json.dumps(told).encode())
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A form, or what is left of one."""
    pieces = [b'Content-Disposition: form-data; name="metadata"\r\n\r\n' + draw(metadata)]
    pieces += draw(st.lists(parts(), max_size=3))
    if draw(st.booleans()):
        pieces.append(b'Content-Disposition: form-data; name="f"; filename="a.txt"\r\n\r\nhello')
    pieces = draw(st.permutations(pieces))
    body = b"".join(b"--" + BOUNDARY + b"\r\n" + piece + b"\r\n" for piece in pieces)
    body += b"--" + BOUNDARY + b"--\r\n"
    harm = draw(st.integers(0, 5))
    if harm == 0:
        return body[: draw(st.integers(0, len(body)))]
    if harm == 1:
        at = draw(st.integers(0, len(body)))
        return body[:at] + draw(st.binary(max_size=8)) + body[at + draw(st.integers(0, 8)) :]
    if harm == 2:
        return draw(st.binary(max_size=30)) + body
    return body


content_types = st.sampled_from(
    [
        b"multipart/form-data; boundary=" + BOUNDARY,
        b'multipart/form-data; boundary="' + BOUNDARY + b'"',
    ]
    * 4
    + [
        b"multipart/form-data; boundary=another",
        b"multipart/form-data; boundary=\xff",
        b"multipart/form-data; boundary=",
        b"multipart/form-data",
        b"multipart/mixed; boundary=" + BOUNDARY,
        b"application/x-www-form-urlencoded",
        b"text/plain",
        b"",
        b"multipart/form-data; boundary=" + b"x" * 300,
    ]
)


@dataclass(frozen=True)
class Framing:
    """How a body is sent; ``off`` is added to its announced length."""

    off: int = 0
    chunk: int = 0  # bytes; 0: not chunked

    def head(self, body: bytes) -> bytes:
        if self.chunk:
            return b"Transfer-Encoding: chunked\r\n"
        return b"Content-Length: %d\r\n" % max(0, len(body) + self.off)

    def sent(self, body: bytes) -> bytes:
        if not self.chunk:
            return body
        pieces = [body[at : at + self.chunk] for at in range(0, len(body), self.chunk)]
        return b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in pieces) + b"0\r\n\r\n"


framings = (
    st.just(Framing())
    | st.builds(Framing, off=st.integers(-20, 20))
    | st.builds(Framing, chunk=st.sampled_from([1000, 7, 65_536]))
)


# -------------------------------------------------------------------------------- the asking


async def ask(
    field: Field, method: bytes, path: str, head: bytes, sent: bytes, *, hang_up: bool = False
) -> bytes:
    """What the sandbox says to raw bytes; nothing where it hung up, or the client did."""
    host, port = field.sandbox.url.removeprefix("http://").split(":")
    key = field.sandbox.api_key.rpartition(":")[2].encode()
    asked = field.sandbox.site.requests.total
    reader, writer = await asyncio.open_connection(host, int(port))
    heard = b""
    try:
        writer.write(b"%s /api%s HTTP/1.1\r\nHost: x\r\n" % (method, path.encode()))
        writer.write(b"Connection: close\r\nAuthorization: Bearer %s\r\n%s\r\n" % (key, head))
        writer.write(sent)
        await writer.drain()
        if hang_up:
            writer.write_eof()
        while data := await reader.read(1 << 16):
            heard += data
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
    async with asyncio.timeout(10):
        while field.sandbox.site.requests.total == asked and not heard:
            await asyncio.sleep(0)  # until the handler has seen that nobody listens
    await settled(field.sandbox)
    return heard


def check(heard: bytes, *, is_http: bool = True) -> int:
    """The status, the answer being well formed; 0: there was none.

    Args:
        is_http: otherwise it may be answered by what reads HTTP, before the sandbox hears of it.
    """
    if not heard:
        return 0
    head, _, body = heard.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    if not is_http and status == 400 and b"text/plain" in head:
        return status
    assert status == 200 or 400 <= status < 500, heard
    if status != 200:
        told = json.loads(body)
        assert told["status_code"] == status
        assert isinstance(told["message"], str)
        assert told["message"]
        assert re.fullmatch(r"[0-9a-f]{8}-\d+", told["request_id"])
    return status


def listing(field: Field) -> dict[str, bytes]:
    """Everything around the data folder, with its content."""
    return {
        str(path.relative_to(field.around)): path.read_bytes() if path.is_file() else b""
        for path in sorted(field.around.rglob("*"))
        if field.data not in (path, *path.parents)
    }


def look_around(field: Field, before: dict[str, bytes]) -> None:
    """Nothing is on its way in any more, and nothing is where it does not belong."""
    assert listing(field) == before
    assert not list((field.data / "incoming").iterdir())
    inside = [str(path.relative_to(field.data)) for path in field.data.rglob("*")]
    assert [path for path in inside if not OURS.fullmatch(path)] == []


def paths(field: Field) -> list[str]:
    tree = field.tree
    return [
        f"/acquisitions/{tree.acquisition}/files",
        f"/projects/{tree.project}/files?preserve_metadata=true",
        f"/projects/{tree.project}/packfile?token={field.token}",
        "/upload/label",
        "/upload/uid",
        "/upload/uid-match",
        "/upload/reaper",
        "/upload/label?ticket=",
        f"/acquisitions/{tree.acquisition}/files?ticket=",
        f"/storage/files?project_id={tree.project}",
    ]


def test_a_form_that_is_right_is_taken_by_this_test(field: Field) -> None:
    body = b'--%s\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n%s\r\n' % (
        BOUNDARY,
        json.dumps(LABEL).encode(),
    )
    body += b'--%s\r\nContent-Disposition: form-data; filename="a.txt"\r\n\r\nhi\r\n' % BOUNDARY
    body += b"--%s--" % BOUNDARY
    type_ = b"Content-Type: multipart/form-data; boundary=" + BOUNDARY + b"\r\n"
    for framing in (Framing(), Framing(chunk=7)):
        head = type_ + framing.head(body)
        heard = field.runner.run(ask(field, b"POST", "/upload/label", head, framing.sent(body)))

        assert check(heard) == 200
        assert b'"name":"a.txt"' in heard


@settings(max_examples=250)
@given(st.integers(0, 9), bodies(), content_types, framings)
def test_whatever_a_form_is_it_is_answered_and_leaves_nothing(
    field: Field, at: int, body: bytes, content_type: bytes, framing: Framing
) -> None:
    before = listing(field)
    head = b"Content-Type: %s\r\n" % content_type + framing.head(body)

    sent = framing.sent(body)
    hang_up = framing.off > 0
    heard = field.runner.run(ask(field, b"POST", paths(field)[at], head, sent, hang_up=hang_up))

    assert check(heard, is_http=framing.off >= 0) or hang_up, "it hung up on a whole request"
    look_around(field, before)


@given(names)
@example("../../neighbour/file")
@example("x" * 300)
@example("a\\..\\b")
def test_a_file_may_be_called_anything_and_is_kept_under_no_name(field: Field, name: str) -> None:
    before = listing(field)
    spelled = quote(name, safe="").encode()
    body = b"--%s\r\nContent-Disposition: form-data; filename*=utf-8''%s\r\n\r\n%s\r\n--%s--" % (
        BOUNDARY,
        spelled,
        spelled,
        BOUNDARY,
    )
    head = b"Content-Type: multipart/form-data; boundary=%s\r\n" % BOUNDARY + Framing().head(body)
    where = f"/acquisitions/{field.tree.acquisition}/files"

    heard = field.runner.run(ask(field, b"POST", where, head, body))

    last = name.rpartition("/")[2]
    good = last not in ("", ".", "..") and "\0" not in last and len(last.encode()) <= 255
    assert check(heard) == (200 if good else 400)
    if good:
        (entry,) = json.loads(heard.partition(b"\r\n\r\n")[2])
        assert entry["name"] == last
    look_around(field, before)


@settings(max_examples=120)
@given(metadata | st.binary(max_size=30), st.sampled_from(["", "0", "1", "-1", "x", "9" * 30]))
@example(b'{"project":{"_id":"\\ud800"}}', "")
def test_whatever_the_end_of_a_packfile_says_it_is_answered(
    field: Field, told: bytes, count: str
) -> None:
    before = listing(field)
    where = f"/projects/{field.tree.project}/packfile-end?token={field.token}"
    query = f"&metadata={quote(told)}&file_count={count}"
    assume(len(query) < 8000)

    for method in (b"GET", b"POST"):
        heard = field.runner.run(ask(field, method, where + query, b"Content-Length: 0\r\n", b""))

        assert 400 <= check(heard) < 500
    look_around(field, before)


@settings(max_examples=120)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(HOSTILE),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.none() | st.text(max_size=30) | st.datetimes().map(lambda x: f"{x.isoformat()}Z"),
)
def test_whatever_a_packfile_is_labelled_it_is_a_zip_or_refused(
    field: Field, label: str, session: str, timestamp: str | None
) -> None:
    before = listing(field)
    project = field.tree.project
    told = {
        "project": {"_id": project},
        "session": {"label": session, "subject": {"code": session}},
        "acquisition": {"label": label, "timestamp": timestamp},
        "packfile": {"type": "dicom"},
    }
    body = b'--%s\r\nContent-Disposition: form-data; filename="x"\r\n\r\n1\r\n--%s--'
    body %= (BOUNDARY, BOUNDARY)
    head = b"Content-Type: multipart/form-data; boundary=%s\r\n" % BOUNDARY + Framing().head(body)
    where = f"/projects/{project}/packfile"
    run = field.runner.run
    assert check(run(ask(field, b"POST", f"{where}?token={field.token}", head, body))) == 200
    start = run(ask(field, b"POST", f"{where}-start", b"Content-Length: 0\r\n", b""))
    token = json.loads(start.partition(b"\r\n\r\n")[2])["token"]
    assert check(run(ask(field, b"POST", f"{where}?token={token}", head, body))) == 200

    query = f"?token={token}&metadata={quote(json.dumps(told))}"
    heard = run(ask(field, b"GET", f"{where}-end{query}", b"", b""))

    if check(heard) == 200:
        assert b"event: result" in heard
    look_around(field, before)
