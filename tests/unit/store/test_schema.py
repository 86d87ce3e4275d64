"""Records, scripts and messages carry one schema version."""

import re

import pytest

from darkroom import messages
from darkroom.store.records import SCHEMA_VERSION
from darkroom.store.scripts import shared_part, sources


def test_every_script_writes_records_of_the_schema_that_python_reads() -> None:
    assert re.findall(r"^local SCHEMA = (\d+)", shared_part(), re.MULTILINE) == [str(SCHEMA_VERSION)]
    for name, text in sources().items():
        assert not re.search(r"'v', *\d", text), f"{name} writes a version of its own"


def test_messages_of_another_schema_are_refused() -> None:
    messages.check_version(SCHEMA_VERSION)
    with pytest.raises(messages.UnknownVersionError):
        messages.check_version(SCHEMA_VERSION + 1)
