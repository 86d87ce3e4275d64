"""What budgets look like in the settings: USD outside, whole images inside."""

from decimal import ROUND_FLOOR, Decimal, InvalidOperation

from darkroom.jobs import UNIT_PRICE_USD

EVERY_OTHER = "*"
_PRICE = Decimal(str(UNIT_PRICE_USD))
_MOST_USD = Decimal(10**9)


def images_for(usd: Decimal) -> int:
    """Give how many images an amount pays for.

    Raises:
        ValueError: it does not pay for one, or is no sensible amount.
    """
    if not _PRICE <= usd <= _MOST_USD:
        raise ValueError(f"an amount must be {_PRICE} USD (one image) to {_MOST_USD:,} USD; leave it out for no budget")
    return int((usd / _PRICE).to_integral_value(ROUND_FLOOR))


def parse_daily(text: str) -> dict[str, int]:
    """Read one amount for every tenant, or `tenant:amount` pairs with `*` for every other; gives images by tenant.

    Raises:
        ValueError: it is neither, an amount is wrong, or a tenant is named twice.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) == 1 and ":" not in parts[0]:
        return {EVERY_OTHER: images_for(_amount(parts[0]))}
    caps: dict[str, int] = {}
    for part in parts:
        tenant, colon, amount = part.partition(":")
        if not (tenant.strip() and colon):
            raise ValueError("must be one amount in USD, or tenant:amount pairs such as acme:50,*:100")
        if tenant.strip() in caps:
            raise ValueError("names a tenant twice")
        caps[tenant.strip()] = images_for(_amount(amount))
    return caps


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text.strip())
    except InvalidOperation:
        raise ValueError("an amount must be a number of USD, such as 50 or 12.50") from None
    if not amount.is_finite():
        raise ValueError("an amount must be a number of USD, such as 50 or 12.50")
    return amount
