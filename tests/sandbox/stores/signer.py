"""URLs signed by the clouds' own libraries; runs in the environment that has them.

Reads requests on standard input and answers on standard output, a line of JSON each.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import boto3
from azure.storage.blob import BlobServiceClient, generate_blob_sas
from botocore.config import Config
from google.auth.credentials import AnonymousCredentials, Signing
from google.cloud.storage import _signing


def _s3_client(endpoint: str, key: list[str]) -> Any:
    return boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id=key[0],
        aws_secret_access_key=key[1],
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


def s3(endpoint: str, key: list[str], operation: str, life_s: int, params: dict[str, Any]) -> str:
    client = _s3_client(endpoint, key)
    url: str = client.generate_presigned_url(operation, Params=params, ExpiresIn=life_s)
    return url


def s3_call(endpoint: str, key: list[str], operation: str, params: dict[str, Any]) -> Any:
    """A request that the library makes itself, such as to begin a multipart upload."""
    answer = getattr(_s3_client(endpoint, key), operation)(**params)
    return {name: answer.get(name) for name in ("UploadId", "ETag")}


def azure(
    endpoint: str,
    account: str,
    secret: str,
    container: str,
    key: str,
    permission: str,
    life_s: int,
    parameters: dict[str, str],
) -> str:
    until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=life_s)
    query = generate_blob_sas(
        account,
        container,
        key,
        account_key=secret,
        permission=permission,
        expiry=until,
        **parameters,
    )
    return f"{endpoint}/{account}/{container}/{quote(key)}?{query}"


def azure_container(endpoint: str, account: str, secret: str, container: str) -> None:
    BlobServiceClient(f"{endpoint}/{account}", credential=secret).create_container(container)


class Witness(AnonymousCredentials, Signing):  # type: ignore[misc]
    """Credentials that keep what they are asked to sign."""

    signer = None
    signer_email = "tests@fwsync"
    text = ""

    def sign_bytes(self, message: bytes) -> bytes:
        self.text = message.decode()
        return b"signed"


def gcs(endpoint: str, resource: str, method: str, at: str, life_s: int, **more: Any) -> Any:
    """The URL, and the text that Google's library signs."""
    witness = Witness()
    url = _signing.generate_signed_url_v4(
        witness,
        resource,
        dt.timedelta(seconds=life_s),
        api_access_endpoint=endpoint,
        method=method,
        _request_timestamp=at,
        **more,
    )
    return {"url": url, "string_to_sign": witness.text}


KNOWN: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (s3, s3_call, azure, azure_container, gcs)
}


def main() -> None:
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(KNOWN[name](**arguments)), flush=True)


if __name__ == "__main__":
    main()
