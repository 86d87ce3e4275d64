"""Where a webhook may go, checked when it is asked for; the address that is connected to is checked again each time."""

from api.problems import invalid
from api.services import Services
from api.validation import FieldError
from darkroom.jobs import Webhook
from darkroom.network import AddressRefusedError, check_url


def require_allowed(services: Services, webhook: Webhook | None, loc: tuple[str, ...]) -> None:
    """Refuse a webhook that could never be delivered; None is nobody to tell.

    Raises:
        Problem: `validation_error`, naming the `url` under `loc`.
    """
    if webhook is None:
        return
    try:
        check_url(webhook.url, services.webhook_policy)
    except AddressRefusedError as error:
        raise invalid([FieldError((*loc, "url"), error.reason)]) from None
