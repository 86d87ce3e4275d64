"""Where a webhook may go, as the operator set it."""

from darkroom.network import AddressPolicy
from darkroom.settings import WebhookSettings


def webhook_policy(settings: WebhookSettings) -> AddressPolicy:
    """Make the policy that both the check at submission and the delivering session use."""
    return AddressPolicy(
        allow_networks=tuple(settings.allow_networks),
        allow_http=settings.allow_http == "on",
        ports=frozenset(settings.ports) or None,
    )
