"""What is left of a job survives packing, whatever stands in it; the format is fixed."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.store import packing
from darkroom.store.packing import pack, unpack
from darkroom.store.records import JobRecord

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=300)
JOB_ID = "job_01M8E5C3YGA0M48N87DF6BC6DJ"


@given(TEXT, TEXT)
def test_what_was_packed_is_read_again(request: str, error: str) -> None:
    job = {"tenant": "a", "status": "completed", "attempt": "2", "images": "1", "request": request, "finished_ms": "17"}
    record = JobRecord(
        JOB_ID,
        {**job, "events": "1-1,queued,1;2-5,completed,2;", "event_seq": "5"},
        {
            "state": "done",
            "prediction_id": "7836b2b9844c4432a0813f12a91d5693",
            "out:0": f'{{"key":"2026/{JOB_ID}/00.png","sha256":"{"0f" * 32}"}}',
            "mark": "left out",
        },
        late={1: {"state": "done", "out:0": "{}"}},
        earlier={1: {"state": "failed", "error": error}},
    )
    packed = pack(record).encode(errors="surrogateescape")
    left = unpack(JOB_ID, packed.decode(errors="surrogateescape"))
    assert left.job == {**job, "events": "2-5,completed,2;"}
    assert left.attempt == {name: value for name, value in record.attempt.items() if name != "mark"}
    assert (left.late, left.earlier) == (record.late, record.earlier)


def test_what_a_later_release_packed_is_refused() -> None:
    with pytest.raises(ValueError, match="later release"):
        unpack(JOB_ID, "2whatever")


def test_the_text_that_jobs_are_compressed_against_never_changes() -> None:
    digest = hashlib.sha256(packing._DICTIONARY).hexdigest()
    assert digest == "d0508b5005365c0c4cb08f80602697888c34e311e88c108bed22ed85a0c00598", (
        "packed jobs can't be read with another one: give it a version of its own"
    )
