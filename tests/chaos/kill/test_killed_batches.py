"""Batches whose ingress and workers are killed: whole or nothing, each job ended once, written down whole, told once.

The points that wait for half a minute of silence are left to `make killpoints`.
"""

import pytest

from tests.chaos.kill.batch_judge import judge_batch
from tests.chaos.kill.batches import BATCH_POINTS
from tests.chaos.kill.judge import judge
from tests.chaos.kill.rig import Rig
from tests.support.s3 import s3_client

WAITS = ("batch: begun, nothing staged", "batch: in mid staging", "batch: staged, not linked", "batch: in mid dropping")


@pytest.mark.timeout(300)
def test_batches_killed_on_their_way_end_whole_and_are_paid_once(rig: Rig) -> None:
    rig.api()
    rig.worker()
    batches = [point.kill_at(rig) for point in BATCH_POINTS if point.name not in WAITS]
    rig.wait_for_all(120)
    client = s3_client(rig.s3)
    verdicts = [judge_batch(rig, client, batch.batch_id, ends=batch.ends) for batch in batches]
    client.close()
    assert [problem for verdict in verdicts for problem in verdict.problems] == []
    assert judge(rig) == []
