"""What a wrong setting is answered with: one line a variable, in words that say how to mend it."""

import pytest

from darkroom.errors import ConfigurationError
from darkroom.settings import load_settings

TWO_FORMS = "must be one amount in USD, or tenant:amount pairs such as acme:50,*:100"
AMOUNTS = "an amount must be 0.04 USD (one image) to 1,000,000,000 USD; leave it out for no budget"

ADMIN_KEYS = "must be keys or name:key pairs, a name of letters, digits, - and _ (64 at most)"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("DARKROOM_PORT", "abc", "must be a whole number"),
        ("DARKROOM_PORT", "70000", "must be 65535 or less"),
        ("WAVESPEED_TIER", "iron", "must be one of 'bronze', 'silver', 'gold' or 'ultra'"),
        ("DARKROOM_POLL_MIN_SECONDS", "soon", "must be a number"),
        ("DARKROOM_WEBHOOK_RETRY_SCHEDULE", "soon,later", "must be a number"),
        ("DARKROOM_WEBHOOK_RETRY_SCHEDULE", "0,nan", "each must be 0 to 2592000 seconds"),
        ("DARKROOM_WEBHOOK_RETRY_SCHEDULE", "0,inf", "each must be 0 to 2592000 seconds"),
        ("DARKROOM_WEBHOOK_RETRY_SCHEDULE", "0,1e308", "each must be 0 to 2592000 seconds"),
        ("DARKROOM_WEBHOOK_RETRY_SCHEDULE", "0,-1", "each must be 0 to 2592000 seconds"),
        ("DARKROOM_WEBHOOK_SECRET", "whsec_", "after whsec_ there must be something to sign with"),
        ("DARKROOM_WEBHOOK_PORTS", "https", "must be a whole number"),
        ("DARKROOM_WEBHOOK_PORTS", "443;8443", "must be a whole number"),
        ("DARKROOM_WEBHOOK_PORTS", "443,0", "a port must be 1 to 65535"),
        ("DARKROOM_WEBHOOK_PORTS", "65536", "a port must be 1 to 65535"),
        ("DARKROOM_DAILY_BUDGET_USD", "much", "an amount must be a number of USD, such as 50 or 12.50"),
        ("DARKROOM_DAILY_BUDGET_USD", "acme:NaN", "an amount must be a number of USD, such as 50 or 12.50"),
        ("DARKROOM_DAILY_BUDGET_USD", "acme:1,50", TWO_FORMS),
        ("DARKROOM_DAILY_BUDGET_USD", "acme:1,:2", TWO_FORMS),
        ("DARKROOM_DAILY_BUDGET_USD", "acme:1, acme:2", "names a tenant twice"),
        ("DARKROOM_DAILY_BUDGET_USD", "0", AMOUNTS),
        ("DARKROOM_DAILY_BUDGET_USD", "acme:-5", AMOUNTS),
        ("DARKROOM_BATCH_BUDGET_USD", "0.03", AMOUNTS),
        ("DARKROOM_BATCH_BUDGET_USD", "Infinity", "must be a number"),
        ("DARKROOM_BATCH_BUDGET_USD", "lots", "must be a number"),
        ("DARKROOM_ADMIN_KEYS", "ops:eu:secret", ADMIN_KEYS),
        ("DARKROOM_ADMIN_KEYS", "op s:secret", ADMIN_KEYS),
        ("DARKROOM_ADMIN_KEYS", "ops:", ADMIN_KEYS),
        ("DARKROOM_ON_BUDGET", "stop", "must be one of 'wait' or 'refuse'"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert refused.value.problems == [f"{variable}: {message}"]


@pytest.mark.parametrize("public_url", [None, "http://darkroom.example.com"])
def test_callbacks_need_an_address_that_upstream_calls(monkeypatch: pytest.MonkeyPatch, public_url: str | None) -> None:
    monkeypatch.setenv("WAVESPEED_CALLBACKS", "on")
    if public_url is not None:
        monkeypatch.setenv("DARKROOM_PUBLIC_URL", public_url)
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert refused.value.problems == ["WAVESPEED_CALLBACKS: on needs an https DARKROOM_PUBLIC_URL"]
    monkeypatch.setenv("DARKROOM_PUBLIC_URL", "https://darkroom.example.com/")
    assert load_settings().service.public_url == "https://darkroom.example.com"


@pytest.mark.parametrize(
    ("api_keys", "admin_keys", "problem"),
    [
        ("acme:k-1,bob:k-1", "", "DARKROOM_API_KEYS: the same key stands for acme and bob; give each its own"),
        ("acme:k-1", "ops:k-1", "DARKROOM_ADMIN_KEYS: the same key stands for acme and ops; give each its own"),
        (
            "acme:k-1",
            "k-1",
            "DARKROOM_ADMIN_KEYS: the same key stands for acme and an operator without a name; give each its own",
        ),
        ("", "eve:k-1,ops:k-1", "DARKROOM_ADMIN_KEYS: the same key stands for eve and ops; give each its own"),
    ],
)
def test_a_key_that_stands_for_two_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, api_keys: str, admin_keys: str, problem: str
) -> None:
    monkeypatch.setenv("DARKROOM_API_KEYS", api_keys)
    monkeypatch.setenv("DARKROOM_ADMIN_KEYS", admin_keys)
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert refused.value.problems == [problem]


def test_the_same_pair_twice_and_several_keys_of_one_tenant_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_API_KEYS", "acme:k-1,acme:k-1,acme:k-2")
    assert load_settings().service.api_keys == {"k-1": "acme", "k-2": "acme"}
