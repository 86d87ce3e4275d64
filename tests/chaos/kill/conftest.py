"""A rig for a test, on the real servers of the pytest process."""

from collections.abc import Iterator

import pytest

from deploy.embedded.s3 import EmbeddedS3
from deploy.embedded.valkey import EmbeddedValkey
from simulator.testing import RunningSimulator, running_simulator
from tests.chaos.kill.rig import QUICK, Rig


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    """Run a quick simulator."""
    with running_simulator(**QUICK) as running:
        yield running


@pytest.fixture
def rig(
    redis_url: str,
    valkey_server: EmbeddedValkey,
    s3_server: EmbeddedS3,
    bucket: str,
    simulator: RunningSimulator,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Rig]:
    """Give a rig with nothing running on it."""
    made = Rig(valkey_server, s3_server, bucket, simulator, tmp_path_factory.mktemp("checkpoints"))
    yield made
    made.close()
