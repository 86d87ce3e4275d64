"""A boto3 client for the embedded S3 server, with the options that S3-compatible services need."""

import boto3
from botocore.config import Config
from mypy_boto3_s3 import S3Client

from deploy.embedded.s3 import EmbeddedS3


def s3_client(server: EmbeddedS3) -> S3Client:
    """Return a client that addresses by path, as the embedded server wants it."""
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        region_name=server.region,
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
