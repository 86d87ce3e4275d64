"""Where an object goes in the bucket: decided by the job alone, so that a repeated copy lands on the same key."""

from datetime import UTC, datetime


def job_folder(prefix: str, created_ms: int, job_id: str) -> str:
    """Give `{prefix}/{yyyy}/{mm}/{dd}/{job_id}` without a slash at either end; the date is created_at's in UTC."""
    day = datetime.fromtimestamp(created_ms / 1000, tz=UTC)
    folder = f"{day:%Y/%m/%d}/{job_id}"
    stripped = prefix.strip("/")
    return f"{stripped}/{folder}" if stripped else folder


def output_key(prefix: str, created_ms: int, job_id: str, attempt: int, index: int, extension: str) -> str:
    """Name an output; `extension` is `png`, `jpg` or `webp` without the dot, `attempt` and its folder count from 1."""
    folder = job_folder(prefix, created_ms, job_id)
    within = "" if attempt == 1 else f"attempt-{attempt}/"
    return f"{folder}/{within}{index:02d}.{extension}"


def job_json_key(prefix: str, created_ms: int, job_id: str) -> str:
    """Name the finished job's own description, the same for every attempt."""
    return f"{job_folder(prefix, created_ms, job_id)}/job.json"


def batch_json_key(prefix: str, created_ms: int, batch_id: str) -> str:
    """Name the ended batch's own description."""
    return f"{job_folder(prefix, created_ms, batch_id)}/batch.json"


def results_key(prefix: str, created_ms: int, batch_id: str) -> str:
    """Name what became of the batch's jobs, a line of JSON each."""
    return f"{job_folder(prefix, created_ms, batch_id)}/results.ndjson"
