"""What a wrong setting is answered with: one line a variable, in words that say how to mend it."""

import pytest

from darkroom.errors import ConfigurationError
from darkroom.settings import load_settings


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("DARKROOM_PORT", "abc", "must be a whole number"),
        ("DARKROOM_PORT", "70000", "must be 65535 or less"),
        ("WAVESPEED_TIER", "iron", "must be one of 'bronze', 'silver', 'gold' or 'ultra'"),
        ("DARKROOM_POLL_MIN_SECONDS", "soon", "must be a number"),
        ("DARKROOM_WEBHOOK_RETRY_SCHEDULE", "soon,later", "must be a number"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert refused.value.problems == [f"{variable}: {message}"]
