"""Bodies as the sender writes them, for whoever verifies or receives some."""

from darkroom.webhooks.payload import write_payload

AT = "2026-11-26T08:00:00.000Z"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def event_body(*, job_id: str = "job_1", prompt: str = "a fox", outputs: int = 1) -> bytes:
    """Write the body of a `job.completed`."""
    job = {
        "id": job_id,
        "status": "completed",
        "request": {"prompt": prompt, "metadata": {}},
        "metadata": {},
        "attempts": [],
        "outputs": [
            {"index": index, "url": f"https://s3.example/{index:02d}.png?" + "s" * 700, "url_expires_at": AT}
            for index in range(outputs)
        ],
        "late_outputs": [],
    }
    return write_payload("job.completed", AT, job)


BODIES = {
    "ascii": event_body(),
    "unicode": event_body(prompt='Füchse 🦊 im \u2028 Wald, 「狐」 e\u0301 \\ " </script> \x7f'),
    "15 outputs": event_body(outputs=15),
}
