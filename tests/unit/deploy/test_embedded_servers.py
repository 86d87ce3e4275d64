"""The embedded Valkey and S3 server on real processes."""

import stat
from pathlib import Path

import pytest
import redis
from botocore.exceptions import ClientError
from mypy_boto3_s3 import S3Client
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.embedded.processes import EmbeddedServerError, free_port
from deploy.embedded.s3 import EmbeddedS3, embedded_s3
from deploy.embedded.valkey import EmbeddedValkey, embedded_valkey
from tests.support.s3 import s3_client

NO_RETRY = Retry(NoBackoff(), 0)


def test_valkey_syncs_every_write_and_never_evicts(redis_client: redis.Redis) -> None:
    config = redis_client.config_get("*")
    assert config["appendonly"] == "yes"
    assert config["appendfsync"] == "always"
    assert config["maxmemory-policy"] == "noeviction"
    assert config["bind"] == "127.0.0.1"


def test_what_valkey_acknowledged_survives_kill_9(valkey_server: EmbeddedValkey, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("kept", "yes")
    valkey_server.kill()
    valkey_server.start()
    with redis.Redis.from_url(redis_url) as client:
        assert client.get("kept") == b"yes"


def test_valkey_refuses_who_does_not_know_the_password(valkey_server: EmbeddedValkey, redis_url: str) -> None:
    with redis.Redis(port=valkey_server.port, retry=NO_RETRY) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_valkey_is_gone_when_its_context_ends(tmp_path: Path) -> None:
    with embedded_valkey(tmp_path) as server:
        process = server.process
    assert process.returncode == 0


def test_a_taken_port_is_an_error_with_the_servers_own_words(valkey_server: EmbeddedValkey, tmp_path: Path) -> None:
    with (
        pytest.raises(EmbeddedServerError, match="valkey did not come up") as caught,
        embedded_valkey(tmp_path, valkey_server.port),
    ):
        pass
    assert "in use" in str(caught.value)


def test_an_object_survives_kill_9_of_the_s3_server(s3_server: EmbeddedS3, s3: S3Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="2026/11/22/a.png", Body=b"picture", ContentType="image/png")
    s3_server.kill()
    s3_server.start()
    found = s3.get_object(Bucket=bucket, Key="2026/11/22/a.png")
    assert found["Body"].read() == b"picture"
    assert found["ContentType"] == "image/png"


def test_keys_are_bytes_no_name_is_taken_for_another_that_reads_the_same(s3: S3Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="2026/cafe\u0301.png", Body=b"decomposed")
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="2026/caf\u00e9.png")


def test_s3_refuses_a_wrong_secret(s3_server: EmbeddedS3, s3: S3Client) -> None:
    wrong = EmbeddedS3(
        endpoint_url=s3_server.endpoint_url,
        port=s3_server.port,
        access_key_id=s3_server.access_key_id,
        secret_access_key="wrong",
        directory=s3_server.directory,
        process=s3_server.process,
    )
    stranger = s3_client(wrong)
    with pytest.raises(stranger.exceptions.ClientError, match=r"SignatureDoesNotMatch|InvalidAccessKey|403|Forbidden"):
        stranger.list_buckets()
    stranger.close()


def test_s3_keeps_its_address_keys_and_bucket_across_starts(tmp_path: Path) -> None:
    port = free_port()
    with embedded_s3(tmp_path, port, bucket="mine") as first:
        pass
    with embedded_s3(tmp_path, port, bucket="mine") as second:
        assert (second.endpoint_url, second.access_key_id, second.secret_access_key) == (
            first.endpoint_url,
            first.access_key_id,
            first.secret_access_key,
        )
        assert (tmp_path / "objects" / "mine").is_dir()


def test_secrets_are_readable_by_their_owner_only_and_on_no_command_line(
    valkey_server: EmbeddedValkey, s3_server: EmbeddedS3
) -> None:
    files = [
        valkey_server.directory / "password",
        valkey_server.directory / "valkey.conf",
        s3_server.directory / "secret-access-key",
    ]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
    password = (valkey_server.directory / "password").read_text().strip()
    assert password not in " ".join(map(str, valkey_server.process.args))  # type: ignore[arg-type]
    assert s3_server.secret_access_key not in " ".join(map(str, s3_server.process.args))  # type: ignore[arg-type]
