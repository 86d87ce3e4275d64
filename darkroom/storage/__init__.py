"""The operator's S3-compatible bucket: names of objects, streaming copies, presigned URLs."""

from darkroom.storage.bucket import Bucket, bucket_session
from darkroom.storage.copy import CopyLimits, StoredObject, copy_file, copy_url
from darkroom.storage.errors import (
    OutputInvalidError,
    OutputMissingError,
    OutputTooLargeError,
    SourceUnavailableError,
    StorageRefusedError,
    StorageUnavailableError,
)
from darkroom.storage.naming import job_folder, job_json_key, output_key

__all__ = [
    "Bucket",
    "CopyLimits",
    "OutputInvalidError",
    "OutputMissingError",
    "OutputTooLargeError",
    "SourceUnavailableError",
    "StorageRefusedError",
    "StorageUnavailableError",
    "StoredObject",
    "bucket_session",
    "copy_file",
    "copy_url",
    "job_folder",
    "job_json_key",
    "output_key",
]
