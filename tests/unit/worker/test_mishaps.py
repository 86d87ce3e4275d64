"""What the log says of work that ended in an exception."""

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from darkroom.errors import StaleLeaseError
from darkroom.telemetry.logs import get_logger
from worker.mishaps import note_mishap


@pytest.mark.parametrize(
    ("error", "event", "level"),
    [
        (RedisConnectionError("gone"), "notify.interrupted", "warning"),
        (StaleLeaseError("d:dlv_1"), "notify.taken_over", "info"),
        (RuntimeError("a mistake"), "notify.crashed", "error"),
    ],
)
def test_only_a_mistake_of_this_program_is_an_error_with_a_traceback(error: Exception, event: str, level: str) -> None:
    with capture_logs() as lines:
        note_mishap(get_logger("test"), "notify", error, delivery_id="dlv_1")
    (line,) = lines
    assert (line["event"], line["log_level"], line["delivery_id"]) == (event, level, "dlv_1")
    assert ("exc_info" in line) == (level == "error")
