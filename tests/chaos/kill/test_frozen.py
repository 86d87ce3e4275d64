"""Workers stopped past their leases until others have done their work, and then continued: the late ones do no harm."""

import pytest

from tests.chaos.kill.judge import judge
from tests.chaos.kill.points import BY_NAME
from tests.chaos.kill.rig import Rig

FROZEN = {
    "submit: connected, before the last check": "held up before it could send",
    "submit: answered, id not stored": "moved=NOTHING",
    "look: answered, not applied": "",
    "store: mid upload": "",
    "store: job.json written, not complete": "moved=STALE",
    "notify: sent, not recorded": "recorded=False",
}
"""Where each worker is frozen, and what it says once it goes on."""


@pytest.mark.timeout(240)
def test_workers_frozen_past_their_leases_neither_send_nor_end_nor_change_what_others_have_done(rig: Rig) -> None:
    rig.api()
    frozen = {}
    for name in FROZEN:
        rig.worker()
        caught, job_id = BY_NAME[name].catch(rig)
        frozen[name] = (caught, job_id)
    rig.worker()
    rig.wait_for_all(120)
    for caught, _ in frozen.values():
        caught.resume()
    for name, (caught, job_id) in frozen.items():
        assert caught.process.stop() == 0
        said = [line for line in caught.process.lines if job_id in line]
        assert FROZEN[name] in "".join(said), (name, caught.process.output)
    assert judge(rig) == []
