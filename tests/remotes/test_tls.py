"""Certificates: what is trusted, and what is said where it is not."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from yarl import URL

from fwsync.errors import Unavailable, UsageError
from fwsync.remotes.http import Api
from tests.remotes.conftest import KEY, Clock, in_turn, ok, patient, serving, status


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def context(authority: trustme.CA, *names: str, expired: bool = False) -> ssl.SSLContext:
    until = datetime.now(UTC) - timedelta(days=1) if expired else None
    since = datetime.now(UTC) - timedelta(days=9) if expired else None
    certificate = authority.issue_cert(*names, not_after=until, not_before=since)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(made)
    return made


async def test_the_sites_own_authority_is_trusted_if_named(
    authority: trustme.CA, ca_file: str
) -> None:
    handler, _ = in_turn(ok)
    async with (
        serving(handler, ssl_context=context(authority, "127.0.0.1")) as url,
        Api(url, KEY, ca_file=ca_file) as api,
    ):
        assert await api.json("GET", ("x",)) == {"ok": True}


@pytest.mark.parametrize(
    ("names", "expired", "trusted", "said"),
    [
        (("127.0.0.1",), False, False, "FW_SSL_CERT_FILE"),
        (("other.example",), False, True, "not the one that the certificate was made for"),
        (("127.0.0.1",), True, True, "renewed"),
    ],
)
async def test_a_certificate_that_is_not_valid_ends_at_once(
    names: tuple[str, ...],
    expired: bool,
    trusted: bool,
    said: str,
    authority: trustme.CA,
    ca_file: str,
    clock: Clock,
) -> None:
    handler, seen = in_turn(ok)
    served = context(authority, *names, expired=expired)
    async with (
        serving(handler, ssl_context=served) as url,
        patient(url, clock, patience_s=None, ca_file=ca_file if trusted else None) as api,
    ):
        with pytest.raises(Unavailable) as raised:
            await api.json("GET", ("x",))

    assert said in raised.value.hint
    assert "certificate of 127.0.0.1 is not valid" in raised.value.message
    assert (seen, clock.slept) == ([], [])


async def test_f33_a_certificate_that_is_not_valid_yet_points_at_the_clock(
    authority: trustme.CA, ca_file: str, clock: Clock
) -> None:
    since = datetime.now(UTC) + timedelta(days=1)
    until = since + timedelta(days=9)
    certificate = authority.issue_cert("127.0.0.1", not_before=since, not_after=until)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(served)
    handler, seen = in_turn(ok)
    async with (
        serving(handler, ssl_context=served) as url,
        patient(url, clock, patience_s=None, ca_file=ca_file) as api,
    ):
        with pytest.raises(Unavailable) as raised:
            await api.json("GET", ("x",))

    assert "check the clock of this machine" in raised.value.hint
    assert "certificate is not yet valid" in raised.value.message
    assert (seen, clock.slept) == ([], [])


async def test_plain_http_on_a_tls_port_is_named(clock: Clock) -> None:
    handler, _ = in_turn(ok)
    async with serving(handler) as url:
        secure = url.replace("http:", "https:")
        async with patient(secure, clock, patience_s=None) as api:
            with pytest.raises(Unavailable) as raised:
                await api.json("GET", ("x",))

    assert "does it speak https?" in raised.value.hint
    assert "it looks like plain HTTP" in raised.value.hint
    assert "__force_insecure" in raised.value.hint
    assert f"no TLS connection to {URL(url).authority} (" in raised.value.message


async def test_a_key_for_plain_http_at_a_tls_port_is_named(
    authority: trustme.CA, clock: Clock
) -> None:
    handler, _ = in_turn(ok)
    async with serving(handler, ssl_context=context(authority, "127.0.0.1")) as url:
        plain = url.replace("https:", "http:")
        async with patient(plain, clock, patience_s=1) as api:
            with pytest.raises(Unavailable) as raised:
                await api.json("GET", ("x",))

    assert "does the site want https?" in raised.value.hint
    assert f"the connection to {URL(url).authority} broke (" in raised.value.message


async def test_tls_is_not_left_by_a_redirect(authority: trustme.CA, ca_file: str) -> None:
    handler, _ = in_turn(status(302, Location="http://127.0.0.1:9/x"))
    async with (
        serving(handler, ssl_context=context(authority, "127.0.0.1")) as url,
        Api(url, KEY, ca_file=ca_file) as api,
    ):
        with pytest.raises(Exception, match="unsafe"):
            await api.json("GET", ("x",))


@pytest.mark.parametrize("content", [None, "", "no certificate"])
async def test_a_file_that_holds_no_certificates_is_a_usage_error(
    content: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)

    with pytest.raises(UsageError):
        await Api("https://host", KEY, ca_file=str(path)).__aenter__()
