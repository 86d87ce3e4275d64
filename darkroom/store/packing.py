"""What is left of a completed job once it is compacted: the fields that its view shows, in one small string.

They are written as JSON and compressed against a text that every such job resembles.
"""

import re
import zlib
from typing import Any

import orjson

from darkroom.ids import id_time_ms
from darkroom.store.records import JobRecord, status_changes

JOB_FIELDS = frozenset(
    {"tenant", "status", "attempt", "images", "priority", "batch", "request", "submits", "spent_images", "queued_ms"}
    | {"finished_ms", "cancel_requested_ms", "webhook_status", "late"}
)
ATTEMPT_FIELDS = frozenset(
    {"state", "prediction_id", "sends", "spent_images", "sent_ms", "submitted_ms", "inference_ms", "polls"}
    | {"storing_ms", "stored_ms", "ended_ms", "error"}
)

MOMENTS = frozenset(
    {"queued_ms", "finished_ms", "cancel_requested_ms", "sent_ms", "submitted_ms", "storing_ms", "stored_ms"}
    | {"ended_ms"}
)
"""Unix times, which are packed as what they are after the job's own, in its id."""

_VERSION = "1"
_ID = "\x01"
"""Stands for the job's own id, which is in its key already."""

_HEX = "\x02"
"""Stands for the next 32 hexadecimal digits, of a checksum or a prediction's id, which follow as 16 bytes."""

_HEX_RUN = re.compile(r"[0-9a-f]{32}")

_RARE: list[Any] = [
    {"batch": "batch_", "priority": "low", "cancel_requested_ms": "", "webhook_status": "pending", "late": "1,2"},
    '"size":"4096*4096","enable_base64_output":true,"enable_sync_mode":true,"expires_in":3600,"priority":"high",'
    '"webhook":{"url":"https://","events":["job.completed","job.failed"]},"metadata":{"":""},"custom_id":"","max_images":4}',
    {"2": {"state": "failed", "ended_ms": "", "error": '{"code":"upstream_failed","message":"'}},
    '"width":4096,"height":4096,"nsfw":true}',
]
_USUAL: list[Any] = [
    {"webhook_status": "delivered", "tenant": "local", "images": "1", "priority": "normal"}
    | {"request": '{"prompt":"the with and of a in on to an at by"}', "attempt": "1", "queued_ms": "0"}
    | {"status": "completed", "submits": "1", "spent_images": "1", "finished_ms": ""},
    ["1-5", 3],
    {"state": "done", "sends": "1", "sent_ms": "", "spent_images": "1", "prediction_id": "\x02", "submitted_ms": ""}
    | {"inference_ms": "3", "polls": "5", "storing_ms": ""}
    | {
        "out:0": '{"index":0,"bucket":"darkroom","key":"2026/12/01/\x01/00.png","content_type":"image/png","bytes":1,'
        '"sha256":"\x02\x02","width":2048,"height":2048,"nsfw":false}',
        "stored_ms": "",
    },
    {},
    {},
]
_DICTIONARY = orjson.dumps(_RARE) + orjson.dumps(_USUAL).replace(b"\\u0001", b"\x01").replace(b"\\u0002", b"\x02")
"""Part of the format: another text needs another version, and this one stays to read what was packed with it."""


def pack(record: JobRecord) -> str:
    """Write what is left of a job as text for `Redis`, whose undecodable bytes stand as surrogates."""
    start_ms = id_time_ms(record.job_id)
    end = status_changes(record.job)[-1]
    left = [
        _after(start_ms, {name: value for name, value in record.job.items() if name in JOB_FIELDS}),
        [end.event_id, end.at_ms - start_ms],
        _left_of(start_ms, record.attempt),
        {str(number): _left_of(start_ms, item) for number, item in record.late.items()},
        {str(number): _left_of(start_ms, item) for number, item in record.earlier.items()},
    ]
    text = orjson.dumps(left).decode().replace(record.job_id, _ID)
    digits = bytes.fromhex("".join(_HEX_RUN.findall(text)))
    packer = zlib.compressobj(level=9, wbits=-15, zdict=_DICTIONARY)
    packed = packer.compress(_HEX_RUN.sub(_HEX, text).encode()) + packer.flush() + digits
    return _VERSION + packed.decode(errors="surrogateescape")


def unpack(job_id: str, packed: str) -> JobRecord:
    """Read what `pack` wrote; of the job's history its end alone is left.

    Raises:
        ValueError: it is of a later version; permanent for this release.
    """
    if not packed.startswith(_VERSION):
        raise ValueError(f"{job_id}: compacted by a later release")
    unpacker = zlib.decompressobj(wbits=-15, zdict=_DICTIONARY)
    text = unpacker.decompress(packed[1:].encode(errors="surrogateescape")) + unpacker.flush()
    runs = _HEX_RUN.findall(unpacker.unused_data.hex())
    whole = re.sub(_HEX, lambda _: runs.pop(0), text.decode()).replace(_ID, job_id)
    job, (event_id, ended_ms), attempt, late, earlier = orjson.loads(whole)
    start_ms = id_time_ms(job_id)
    job["events"] = f"{event_id},{job['status']},{ended_ms + start_ms};"
    late, earlier = (
        {int(number): _after(-start_ms, item) for number, item in items.items()} for items in (late, earlier)
    )
    return JobRecord(job_id, _after(-start_ms, job), _after(-start_ms, attempt), late=late, earlier=earlier)


def _left_of(start_ms: int, attempt: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in attempt.items() if name in ATTEMPT_FIELDS or name.startswith("out:")}
    return _after(start_ms, kept)


def _after(start_ms: int, fields: dict[str, str]) -> dict[str, str]:
    return {name: str(int(value) - start_ms) if name in MOMENTS else value for name, value in fields.items()}
