"""A worker killed at every instruction that counts: every job ends once, paid once, stored whole, told under one id."""

import pytest

from tests.chaos.kill.judge import judge
from tests.chaos.kill.points import POINTS
from tests.chaos.kill.rig import Rig


@pytest.mark.timeout(300)
def test_workers_killed_at_every_point_of_the_way_lose_nothing_and_buy_nothing_twice(rig: Rig) -> None:
    rig.api()
    rig.worker()
    for point in POINTS:
        caught, _ = point.catch(rig)
        caught.kill()
        rig.worker()
    rig.wait_for_all(120)
    assert judge(rig) == []
