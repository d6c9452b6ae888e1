"""Certificates for ``--tls``: a CA of the data folder's own, and a server certificate from it.

Needs the package of the extra ``fwsync[tls]``.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from fwsync.errors import UsageError
from fwsync.sandbox.settings import TlsSettings


def server_context(folder: Path, host: str, tls: TlsSettings) -> tuple[ssl.SSLContext, Path]:
    """A context for the server, and the file that clients must trust. Blocks.

    The CA is made once for a data folder; the certificate anew at each start.

    Raises:
        UsageError: the extra is not installed.
    """
    try:
        import trustme
    except ImportError as error:
        raise UsageError(
            "TLS needs a package that is not installed", hint="run `pip install 'fwsync[tls]'`"
        ) from error
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca_file, key_file = folder / "ca.pem", folder / "ca.key"
    if ca_file.exists() and key_file.exists():
        ca = trustme.CA.from_pem(ca_file.read_bytes(), key_file.read_bytes())
    else:
        ca = trustme.CA(organization_name="fwsync sandbox")
        _write_secret(key_file, ca.private_key_pem.bytes())
        ca.cert_pem.write_to_path(ca_file)
    names = [tls.hostname] if tls.hostname else list(dict.fromkeys([host, "localhost"]))
    certificate = ca.issue_cert(*names, not_after=tls.expires)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    certificate.configure_cert(context)
    return context, ca_file


def _write_secret(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
