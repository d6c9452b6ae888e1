"""Signatures of version 4: ours against botocore's, and against what somebody changed."""

from __future__ import annotations

import datetime as dt
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlsplit

import botocore.session
import pytest
import time_machine
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from fwsync.sandbox.stores import sigv4
from fwsync.sandbox.stores.sigv4 import AMAZON, GOOGLE, Key, Refusal, judge, presign

KEY = Key("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
HOST = "127.0.0.1:4711"
NOW = dt.datetime(2026, 11, 22, 7, 30, 1, tzinfo=dt.UTC).timestamp()

keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).filter(
    lambda key: not key.startswith("/")
)
upload_ids = st.text("abcdefXYZ0189._-+/=~% &", min_size=1, max_size=30)


@cache
def _client() -> Any:
    return botocore.session.get_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=f"http://{HOST}",
        aws_access_key_id=KEY.id,
        aws_secret_access_key=KEY.secret,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


def botocores(operation: str, key: str, life_s: int, **params: Any) -> str:
    params = {"Bucket": "fw.s3.test", "Key": key, **params}
    with time_machine.travel(NOW, tick=False):
        url: str = _client().generate_presigned_url(operation, Params=params, ExpiresIn=life_s)
    return url


def judged(
    url: str, method: str = "PUT", now: float = NOW, headers: dict[str, str] | None = None
) -> None:
    parts = urlsplit(url)
    carried = CIMultiDict({"Host": parts.netloc} | (headers or {}))
    query = parse_qsl(parts.query, keep_blank_values=True)
    judge(AMAZON, KEY, method, parts.path, query, CIMultiDictProxy(carried), now)


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    _client()  # reads its tables from the disk, which takes its time


@given(keys, st.integers(1, 604_800))
def test_a_url_for_an_object_is_signed_as_botocore_signs_it(key: str, life_s: int) -> None:
    theirs = botocores("put_object", key, life_s)
    ours = presign(AMAZON, KEY, "PUT", theirs.partition("?")[0], at=NOW, life_s=life_s)

    assert theirs == ours
    judged(theirs)


@given(keys, upload_ids, st.integers(1, 10_000))
def test_a_url_for_a_part_is_signed_as_botocore_signs_it(
    key: str, upload_id: str, number: int
) -> None:
    theirs = botocores("upload_part", key, 60, UploadId=upload_id, PartNumber=number)
    parameters = [
        (name, value)
        for name, value in parse_qsl(urlsplit(theirs).query)
        if name in ("uploadId", "partNumber")
    ]
    ours = presign(
        AMAZON,
        KEY,
        "PUT",
        theirs.partition("?")[0],
        parameters=parameters,
        at=NOW,
        life_s=60,
    )

    assert {("uploadId", upload_id), ("partNumber", str(number))} == set(parameters)
    assert theirs == ours
    judged(theirs)


@given(keys, st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40))
def test_a_url_for_reading_is_signed_as_botocore_signs_it(key: str, name: str) -> None:
    disposition = f'attachment; filename="{name}"'
    theirs = botocores("get_object", key, 60, ResponseContentDisposition=disposition)

    judged(theirs, "GET")


@given(keys, st.text("abc xyz;=/", min_size=1, max_size=20).map(str.strip).filter(bool))
def test_a_header_that_was_signed_must_come_as_it_was(key: str, kind: str) -> None:
    theirs = botocores("put_object", key, 60, ContentType=kind)

    judged(theirs, headers={"Content-Type": kind})
    for headers in ({}, {"Content-Type": kind + "x"}):
        with pytest.raises(Refusal) as refused:
            judged(theirs, headers=headers)
        assert sigv4.MISMATCH == refused.value.reason


@given(keys, st.data())
def test_whatever_is_changed_in_a_url_is_noticed(key: str, data: st.DataObject) -> None:
    url = botocores("upload_part", key, 60, UploadId="abc", PartNumber=1)
    start = len(f"http://{HOST}/")
    place = data.draw(st.integers(start, len(url) - 1))
    letter = data.draw(st.sampled_from("abcXYZ019_"))
    changed = url[:place] + letter + url[place + 1 :]

    if _meaning(changed) == _meaning(url):  # %2f and %2F say the same
        return
    with pytest.raises(Refusal):
        judged(changed)


def _meaning(url: str) -> tuple[str, list[tuple[str, str]]]:
    parts = urlsplit(url)
    return unquote_to_bytes(parts.path).hex(), sorted(parse_qsl(parts.query))


@pytest.mark.parametrize(
    ("late_s", "reason"),
    [(0, None), (60, None), (61, sigv4.EXPIRED), (-899, None), (-901, sigv4.NOT_YET)],
)
def test_a_url_has_its_time(late_s: int, reason: str | None) -> None:
    url = botocores("put_object", "k", 60)

    if reason is None:
        judged(url, now=NOW + late_s)
        return
    with pytest.raises(Refusal) as refused:
        judged(url, now=NOW + late_s)
    assert reason == refused.value.reason


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("X-Amz-Expires=60", "X-Amz-Expires=604801", sigv4.TOO_LONG),
        ("X-Amz-Expires=60", "X-Amz-Expires=-60", sigv4.MALFORMED),
        ("X-Amz-Expires=60", "X-Amz-Expires=", sigv4.MALFORMED),
        ("&X-Amz-Expires=60", "", sigv4.MALFORMED),
        ("X-Amz-Expires=60", "X-Amz-Expires=60&X-Amz-Expires=61", sigv4.MALFORMED),
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-MD5", sigv4.MALFORMED),
        ("us-east-1", "eu-west-1", sigv4.MALFORMED),
        ("X-Amz-Date=2026", "X-Amz-Date=1926", sigv4.MALFORMED),
        ("X-Amz-Date=20261122T", "X-Amz-Date=20269922T", sigv4.MALFORMED),
        ("SignedHeaders=host", "SignedHeaders=", sigv4.MALFORMED),
        ("SignedHeaders=host", "SignedHeaders=host%3Ba", sigv4.MALFORMED),
        (KEY.id, "AKIASOMEBODYELSE", sigv4.UNKNOWN_KEY),
        ("fw.s3.test/k", "fw.s3.test/l", sigv4.MISMATCH),
    ],
)
def test_what_is_wrong_has_a_name(old: str, new: str, reason: str) -> None:
    url = botocores("put_object", "k", 60)
    assert old in url

    with pytest.raises(Refusal) as refused:
        judged(url.replace(old, new))
    assert reason == refused.value.reason


def test_a_method_and_a_host_are_part_of_what_is_signed() -> None:
    url = botocores("put_object", "k", 60)

    for changes in ({"method": "GET"}, {"headers": {"Host": "localhost:4711"}}):
        with pytest.raises(Refusal) as refused:
            judged(url, **changes)
        assert sigv4.MISMATCH == refused.value.reason


def test_a_header_of_the_clouds_own_must_be_signed() -> None:
    with pytest.raises(Refusal) as refused:
        judged(botocores("put_object", "k", 60), headers={"x-amz-acl": "public-read"})

    assert (sigv4.UNSIGNED_HEADERS, "x-amz-acl") == (refused.value.reason, refused.value.detail)


@given(keys, st.integers(1, 604_800))
def test_google_has_the_same_scheme_with_other_words(key: str, life_s: int) -> None:
    url = presign(
        GOOGLE,
        KEY,
        "PUT",
        f"http://{HOST}/b/{quote(key, safe='/-_.~')}",
        headers={"x-goog-resumable": "start"},
        at=NOW,
        life_s=life_s,
    )
    parts = urlsplit(url)
    query = parse_qsl(parts.query)
    headers = CIMultiDict({"Host": HOST, "X-Goog-Resumable": "start"})

    assert "GOOG4-HMAC-SHA256" == dict(query)["X-Goog-Algorithm"]
    judge(GOOGLE, KEY, "PUT", parts.path, query, CIMultiDictProxy(headers), NOW + life_s)
    del headers["X-Goog-Resumable"]
    with pytest.raises(Refusal):
        judge(GOOGLE, KEY, "PUT", parts.path, query, CIMultiDictProxy(headers), NOW)
