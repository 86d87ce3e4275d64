"""The operator's settings, as the guard sees them."""

import pytest

from darkroom.network import AddressRefusedError, check_url
from darkroom.settings import WebhookSettings
from darkroom.webhooks.policy import webhook_policy


def test_by_default_only_https_to_public_addresses_is_allowed() -> None:
    policy = webhook_policy(WebhookSettings())
    check_url("https://example.com/hook", policy)
    for url in ("http://example.com/hook", "https://10.0.0.1/hook", "https://localhost/hook"):
        with pytest.raises(AddressRefusedError):
            check_url(url, policy)


def test_allowed_networks_and_plain_http_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_WEBHOOK_ALLOW_NETWORKS", "127.0.0.0/8, fd00::/8")
    monkeypatch.setenv("DARKROOM_WEBHOOK_ALLOW_HTTP", "on")
    policy = webhook_policy(WebhookSettings())
    for url in ("http://127.0.0.1:9/hook", "http://[fd00::1]/hook", "http://example.com/hook"):
        check_url(url, policy)
    with pytest.raises(AddressRefusedError):
        check_url("http://10.0.0.1/hook", policy)


def test_without_a_list_of_ports_any_port_may_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_WEBHOOK_PORTS", "")
    check_url("https://example.com:6379/hook", webhook_policy(WebhookSettings()))


def test_listed_ports_are_the_only_ones_even_in_allowed_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_WEBHOOK_PORTS", "443, 8443")
    monkeypatch.setenv("DARKROOM_WEBHOOK_ALLOW_NETWORKS", "127.0.0.0/8")
    policy = webhook_policy(WebhookSettings())
    for url in ("https://example.com/hook", "https://example.com:8443/hook", "http://127.0.0.1:8443/hook"):
        check_url(url, policy)
    for url in ("https://example.com:6379/hook", "http://127.0.0.1/hook", "http://127.0.0.1:6379/hook"):
        with pytest.raises(AddressRefusedError, match="port"):
            check_url(url, policy)
