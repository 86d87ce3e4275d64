"""Ids of batches and of their jobs: a job's id is its batch's with the line in its last four characters."""

import secrets

from ulid import ULID

from darkroom.ids import now_ms

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LINE_DIGITS = 4
_LINE_BITS = 5 * _LINE_DIGITS


def new_batch_id() -> str:
    """Make an id whose last four characters are zeros (its jobs have their lines there); 60 of its bits are random."""
    value = (now_ms() << 80) | (secrets.randbits(80 - _LINE_BITS) << _LINE_BITS)
    return f"batch_{ULID(value.to_bytes(16, 'big'))}"


def batch_job_id(batch_id: str, line: int) -> str:
    """Give the id of a batch's job; the scripts make the same."""
    digits = ""
    for _ in range(_LINE_DIGITS):
        line, digit = divmod(line, 32)
        digits = _CROCKFORD[digit] + digits
    return f"job_{batch_id.removeprefix('batch_')[:-_LINE_DIGITS]}{digits}"


def line_of(job_id: str) -> int:
    """Give the line that a batch's job came from."""
    line = 0
    for character in job_id[-_LINE_DIGITS:]:
        line = line * 32 + _CROCKFORD.index(character)
    return line
