"""The operator's S3-compatible bucket."""

from typing import Literal

from pydantic import Field, SecretStr, field_validator

from darkroom.settings.base import AreaSettings


class StorageSettings(AreaSettings):
    """Bucket, endpoint and how its URLs are formed. Credentials may come from boto3's usual chain instead."""

    bucket: str = Field("darkroom", min_length=1, validation_alias="DARKROOM_S3_BUCKET", description="The bucket.")
    endpoint_url: str | None = Field(
        None, validation_alias="DARKROOM_S3_ENDPOINT_URL", description="Endpoint of a service other than AWS."
    )
    region: str | None = Field(None, validation_alias="DARKROOM_S3_REGION", description="Region to sign for.")
    addressing: Literal["path", "virtual", "auto"] = Field(
        "auto", validation_alias="DARKROOM_S3_ADDRESSING", description="Path or virtual-host addressing."
    )
    prefix: str = Field("", validation_alias="DARKROOM_S3_PREFIX", description="Put before every object key.")
    public_url: str | None = Field(
        None,
        validation_alias="DARKROOM_S3_PUBLIC_URL",
        description="Where the bucket is public; set, outputs' URLs are this plus the key, else presigned.",
    )
    access_key_id: SecretStr | None = Field(
        None, validation_alias="AWS_ACCESS_KEY_ID", description="Or boto3's usual chain."
    )
    secret_access_key: SecretStr | None = Field(
        None, validation_alias="AWS_SECRET_ACCESS_KEY", description="Or boto3's usual chain."
    )

    session_token: SecretStr | None = Field(
        None, validation_alias="AWS_SESSION_TOKEN", description="With temporary credentials."
    )

    @field_validator("endpoint_url", "public_url")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value.rstrip("/") if value else value

    @field_validator("prefix")
    @classmethod
    def _relative(cls, value: str) -> str:
        return value.strip("/")
