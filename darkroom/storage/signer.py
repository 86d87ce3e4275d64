"""Presigned URLs of one bucket: boto3 decides once how its URLs look, botocore's SigV4 signs each (0.15 ms)."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, quote, urlsplit

import boto3
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials, RefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError
from yarl import URL

from darkroom.errors import ConfigurationError
from darkroom.settings import StorageSettings
from darkroom.storage.errors import StorageUnavailableError

MAX_EXPIRES_S = 604_800
"""Longest life of a SigV4 query signature (AWS, Authenticating Requests: Using Query Parameters)."""

_PROBE = "probe"


class Signer:
    """Makes URLs of a bucket's objects, signed and plain."""

    def __init__(self, settings: StorageSettings) -> None:
        """Find the credentials and the form of the URLs.

        Raises:
            ConfigurationError: no credentials, or boto3 can't make sense of endpoint, region or bucket.
        """
        try:
            session = _session(settings)
            found = session.get_credentials()
            if found is None:
                raise ConfigurationError(["AWS_ACCESS_KEY_ID: no credentials for the bucket found"])
            client = session.client("s3", endpoint_url=settings.endpoint_url, config=_config(settings))
            probe = urlsplit(
                client.generate_presigned_url("get_object", Params={"Bucket": settings.bucket, "Key": _PROBE})
            )
        except (BotoCoreError, ValueError) as error:
            raise ConfigurationError([f"DARKROOM_S3_BUCKET, DARKROOM_S3_ENDPOINT_URL: {error}"]) from None
        self._credentials = found
        self._base = f"{probe.scheme}://{probe.netloc}{probe.path.removesuffix(_PROBE)}"
        self._region = parse_qs(probe.query)["X-Amz-Credential"][0].split("/")[2]
        self.endpoint = probe.netloc

    def plain(self, key: str) -> str:
        """Give the object's URL without a signature; an empty key is the bucket itself."""
        return (self._base + quote(key, safe="/~")) if key else self._base.rstrip("/") or self._base

    def sign(self, method: str, key: str, *, expires_s: int) -> URL:
        """Sign a request for the object; blocks for a moment where temporary credentials are due for renewal.

        Raises:
            StorageUnavailableError: temporary credentials have ended and can't be renewed.
        """
        credentials = self._frozen()
        request = AWSRequest(method=method, url=self.plain(key))
        S3SigV4QueryAuth(credentials, "s3", self._region, expires=expires_s).add_auth(request)
        return URL(str(request.url), encoded=True)

    def expiry(self, expires_s: int) -> datetime:
        """Tell when a URL signed now stops working: no later than temporary credentials whose end is known."""
        asked = datetime.now(UTC) + timedelta(seconds=expires_s)
        ends = getattr(self._credentials, "_expiry_time", None)
        return min(asked, ends.astimezone(UTC)) if isinstance(ends, datetime) else asked

    async def renew(self) -> None:
        """Renew temporary credentials off the loop where they are due; costs nothing otherwise."""
        if isinstance(self._credentials, RefreshableCredentials) and self._credentials.refresh_needed():
            await asyncio.to_thread(self._frozen)

    def _frozen(self) -> ReadOnlyCredentials:
        try:
            return self._credentials.get_frozen_credentials()
        except (BotoCoreError, ClientError, RuntimeError, OSError) as error:
            # botocore says RuntimeError where what it fetched has ended already.
            text = f"the temporary credentials for the bucket can't be renewed ({type(error).__name__})"
            raise StorageUnavailableError(text, delay_s=15) from None


def _session(settings: StorageSettings) -> boto3.Session:
    key, secret = settings.access_key_id, settings.secret_access_key
    if key is None or secret is None:
        return boto3.Session(region_name=settings.region)
    given = key.get_secret_value()
    # A token in the environment belongs to the key in the environment, not to one that came from `.env`.
    foreign = "AWS_SESSION_TOKEN" in os.environ and os.environ.get("AWS_ACCESS_KEY_ID") != given
    token = None if foreign else settings.session_token
    return boto3.Session(
        aws_access_key_id=given,
        aws_secret_access_key=secret.get_secret_value(),
        aws_session_token=token.get_secret_value() if token else None,
        region_name=settings.region,
    )


def _config(settings: StorageSettings) -> Config:
    # With "auto" boto3 presigns for AWS's global endpoint, which redirects for young buckets of other regions.
    aws = settings.endpoint_url is None
    style = "virtual" if settings.addressing == "auto" and aws else settings.addressing
    return Config(
        signature_version="s3v4",
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": style},
    )
