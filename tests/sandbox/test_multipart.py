from __future__ import annotations

from itertools import pairwise
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsync.sandbox.formats.multipart import FormParser, Part, PartEnd, boundary_of, file_name
from fwsync.sandbox.problems import ApiError

Field = tuple[str, str | None, bytes]


def encode(fields: list[Field], boundary: bytes = b"bnd") -> bytes:
    made = b""
    for name, filename, content in fields:
        disposition = f'form-data; name="{name}"'
        if filename is not None:
            disposition += f"; filename*=utf-8''{quote(filename, safe='')}"
        made += b"--" + boundary + b"\r\nContent-Disposition: " + disposition.encode()
        made += b"\r\nContent-Type: text/plain\r\n\r\n" + content + b"\r\n"
    return made + b"--" + boundary + b"--\r\n"


def parse(pieces: list[bytes]) -> list[Field]:
    parser = FormParser(b"bnd")
    found: list[Field] = []
    part, content = Part("", None), b""
    for piece in pieces:
        for event in parser.feed(piece):
            if isinstance(event, Part):
                part, content = event, b""
            elif isinstance(event, PartEnd):
                found.append((part.name, part.filename, content))
            else:
                content += event
    parser.finish()
    return found


contents = (
    st.lists(
        st.sampled_from([b"\r\n", b"--", b"--bnd", b"\r\n--bn", b"\r", b"\n", b"-", b"x", b""]),
        max_size=8,
    )
    .map(b"".join)
    .filter(lambda content: b"\r\n--bnd" not in b"\r\n" + content)
)
fields = st.lists(
    st.tuples(st.sampled_from(["file", "metadata"]), st.none() | st.text(min_size=1), contents),
    max_size=4,
)


@given(fields, st.data())
def test_a_form_reads_the_same_however_it_is_cut(form: list[Field], data: st.DataObject) -> None:
    body = encode(form)
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=12).map(sorted))
    pieces = [body[a:b] for a, b in pairwise([0, *cuts, len(body)])]

    assert parse(pieces) == form
    assert parse([bytes([byte]) for byte in body]) == form


@given(fields.filter(bool), st.data())
@pytest.mark.row("upload-broken")
def test_a_form_that_is_cut_off_is_400(form: list[Field], data: st.DataObject) -> None:
    body = encode(form)
    length = data.draw(st.integers(0, len(body) - len(b"--\r\n")))

    with pytest.raises(ApiError) as caught:
        parse([body[:length]])

    assert caught.value.status == 400


@given(st.binary(max_size=300))
@pytest.mark.row("upload-broken")
def test_any_bytes_are_a_form_or_400(body: bytes) -> None:
    status = 200
    try:
        parse([b"--bnd\r\n" + body])
    except ApiError as problem:
        status = problem.status

    assert status in (200, 400)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ('Content-Disposition: form-data; name="file"; filename="a b.txt"', "a b.txt"),
        ("content-disposition:form-data;name=file;filename=plain.txt", "plain.txt"),
        ('Content-Disposition: form-data; name="file"; filename="é 日本.txt"', "é 日本.txt"),
        ('Content-Disposition: form-data; name="file"; filename="a%20b.txt"', "a%20b.txt"),
        ('Content-Disposition: form-data; name="file"; filename="%C3%A9.txt"', "é.txt"),
        (
            "Content-Type: text/plain\r\n"
            'Content-Disposition: form-data; name="file"; filename="a%20b%2520.txt"',
            "a b%20.txt",
        ),
        (
            'Content-Disposition: form-data; name="file"; filename="x"; '
            "filename*=utf-8''%C3%A9%20x.txt",
            "é x.txt",
        ),
        ("Content-Disposition: form-data; name=\"file\"; filename*=iso-8859-1''%E9", "é"),
        ('Content-Disposition: form-data; name="file"; filename="a%22b;c=d.txt"', 'a"b;c=d.txt'),
        (r'Content-Disposition: form-data; name="file"; filename="a\"b.txt"', 'a"b.txt'),
        (r'Content-Disposition: form-data; name="file"; filename="a\b.txt"', r"a\b.txt"),
        ('Content-Disposition: form-data; name="file"; filename="a\\"', "a\\"),
        ('Content-Disposition: form-data; name="metadata"', None),
    ],
)
def test_file_names_come_in_several_dialects(headers: str, expected: str | None) -> None:
    body = b"--bnd\r\n" + headers.encode() + b"\r\n\r\nx\r\n--bnd--"

    assert [filename for _, filename, _ in parse([body])] == [expected]


@pytest.mark.parametrize("name", ["", "/", "a/", ".", "..", "a/..", "x" * 256, "a\0b"])
@pytest.mark.row("upload-broken")
def test_names_that_no_file_can_have_are_400(name: str) -> None:
    with pytest.raises(ApiError) as caught:
        file_name(name)

    assert caught.value.status == 400


def test_a_name_is_what_follows_the_last_slash() -> None:
    assert file_name("a/b/c.txt") == "c.txt"
    assert file_name(r"a\b.txt") == r"a\b.txt"


@pytest.mark.parametrize(
    "kind", ["text/plain", "multipart/form-data", "multipart/mixed; boundary=x", ""]
)
def test_a_body_without_a_form_is_400(kind: str) -> None:
    with pytest.raises(ApiError):
        boundary_of(kind)
