"""How the bucket's URLs look: addressing, signing, expiry. No server involved."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import CredentialRetrievalError
from botocore.session import Session

from darkroom.errors import ConfigurationError
from darkroom.settings import StorageSettings
from darkroom.storage import Bucket, StorageUnavailableError
from darkroom.storage.signer import Signer

KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "secret-of-the-key"}


def _settings(**values: str | None) -> StorageSettings:
    return StorageSettings.model_validate({"bucket": "shots", **KEYS, **values})


def _bucket(**values: str | None) -> Bucket:
    return Bucket(_settings(**values), session=cast(aiohttp.ClientSession, None))  # nothing here connects


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, "https://shots.s3.amazonaws.com/a/00.png"),
        ({"region": "us-east-1"}, "https://shots.s3.amazonaws.com/a/00.png"),
        ({"region": "eu-west-1"}, "https://shots.s3.eu-west-1.amazonaws.com/a/00.png"),
        ({"region": "eu-west-1", "addressing": "virtual"}, "https://shots.s3.eu-west-1.amazonaws.com/a/00.png"),
        ({"region": "eu-west-1", "addressing": "path"}, "https://s3.eu-west-1.amazonaws.com/shots/a/00.png"),
        ({"endpoint_url": "https://s3.example:9000"}, "https://s3.example:9000/shots/a/00.png"),
        ({"endpoint_url": "https://s3.example", "addressing": "virtual"}, "https://shots.s3.example/a/00.png"),
        ({"endpoint_url": "https://s3.example", "addressing": "path"}, "https://s3.example/shots/a/00.png"),
        ({"endpoint_url": "http://10.0.0.1:9000"}, "http://10.0.0.1:9000/shots/a/00.png"),
        ({"endpoint_url": "https://proxy.example/s3/"}, "https://proxy.example/s3/shots/a/00.png"),
    ],
)
def test_urls_follow_the_addressing_that_was_asked_for(values: dict[str, str], url: str) -> None:
    signed, _ = _bucket(**values).object_url("a/00.png")
    assert signed.partition("?")[0] == url


def test_a_signed_url_is_sigv4_for_the_region_and_lasts_seven_days_at_most() -> None:
    signed, expires_at = _bucket(region="eu-west-1").object_url("a/00.png", expires_s=10**7)
    query = parse_qs(urlsplit(signed).query)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["604800"]
    assert query["X-Amz-Credential"][0].split("/")[2:] == ["eu-west-1", "s3", "aws4_request"]
    assert expires_at is not None
    assert abs(expires_at - datetime.now(UTC) - timedelta(days=7)) < timedelta(minutes=1)


def test_a_signature_is_what_boto3_itself_would_make(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: moment)
    session = Session()
    session.set_credentials(KEYS["access_key_id"], KEYS["secret_access_key"])
    client = session.create_client(
        "s3", region_name="eu-west-1", config=Config(signature_version="s3v4", s3={"addressing_style": "virtual"})
    )
    key = "prä fix/a+b&c=d/100%/~00.png"
    expected = client.generate_presigned_url("put_object", Params={"Bucket": "shots", "Key": key}, ExpiresIn=900)
    ours = Signer(_settings(region="eu-west-1")).sign("PUT", key, expires_s=900)
    assert str(ours) == expected


@pytest.mark.parametrize("base", ["https://cdn.example/shots", "https://cdn.example/shots/"])
def test_a_public_bucket_gives_plain_urls_that_never_end(base: str) -> None:
    assert _bucket(public_url=base).object_url("a b/00.png") == ("https://cdn.example/shots/a%20b/00.png", None)


def test_a_url_lives_no_longer_than_temporary_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = datetime.now(UTC) + timedelta(hours=1)
    temporary = RefreshableCredentials("AKID", "secret", "token", ends, refresh_using=dict, method="sts-assume-role")
    monkeypatch.setattr("botocore.session.Session.get_credentials", lambda _self: temporary)
    signed, expires_at = _bucket(access_key_id=None, secret_access_key=None).object_url("a/00.png")
    assert expires_at == ends
    assert parse_qs(urlsplit(signed).query)["X-Amz-Security-Token"] == ["token"]


async def test_credentials_that_are_due_are_renewed_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched_by: list[threading.Thread] = []
    lives = [timedelta(minutes=12), timedelta(hours=6)]  # botocore renews what ends within 15 minutes

    def fetch() -> dict[str, Any]:
        fetched_by.append(threading.current_thread())
        ends = datetime.now(UTC) + lives.pop(0)
        return {"access_key": f"KEY{len(fetched_by)}", "secret_key": "s", "token": "t", "expiry_time": ends.isoformat()}

    due = RefreshableCredentials(
        "STALE", "s", "t", datetime.now(UTC) + timedelta(seconds=30), refresh_using=fetch, method="iam-role"
    )
    monkeypatch.setattr("botocore.session.Session.get_credentials", lambda _self: due)
    bucket = _bucket(access_key_id=None, secret_access_key=None)
    await bucket.renew_credentials()
    await bucket.renew_credentials()
    signed, _ = bucket.object_url("a/00.png")
    assert parse_qs(urlsplit(signed).query)["X-Amz-Credential"][0].startswith("KEY2/")
    assert len(fetched_by) == 2
    assert fetched_by[1] is not threading.main_thread()


async def test_credentials_that_can_not_be_renewed_make_the_bucket_unavailable_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    working = True

    def fetch() -> dict[str, Any]:
        if not working:
            raise CredentialRetrievalError(provider="iam-role", error_msg="down")
        ends = datetime.now(UTC) + timedelta(minutes=12)
        return {"access_key": "A", "secret_key": "s", "token": "t", "expiry_time": ends.isoformat()}

    due = RefreshableCredentials.create_from_metadata(fetch(), refresh_using=fetch, method="iam-role")
    monkeypatch.setattr("botocore.session.Session.get_credentials", lambda _self: due)
    bucket = _bucket(access_key_id=None, secret_access_key=None)
    working = False
    due._expiry_time = datetime.now(UTC)
    with pytest.raises(StorageUnavailableError, match="can't be renewed"):
        await bucket.put_bytes("k", b"x", "text/plain")


def test_the_session_token_of_the_environment_goes_with_the_key_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-token")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    assert "the-token" in _bucket().object_url("k")[0]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ANOTHER")
    assert "the-token" not in _bucket(access_key_id="AKIDEXAMPLE").object_url("k")[0]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"access_key_id": None, "secret_access_key": None}, "AWS_ACCESS_KEY_ID"),
        ({"endpoint_url": "https://"}, "DARKROOM_S3_ENDPOINT_URL"),
        ({"bucket": "not a bucket"}, "DARKROOM_S3_BUCKET"),
    ],
)
def test_a_bucket_that_can_not_work_refuses_to_start(values: dict[str, str | None], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        _bucket(**values)
    assert KEYS["secret_access_key"] not in str(caught.value)
