"""Who calls: API keys to tenants and operators. Everything under /v1/ needs a key unless it is named here."""

import hashlib
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import Problem
from darkroom.errors import ConfigurationError
from darkroom.settings import ServiceSettings
from darkroom.upstream import callback_tokens

DEFAULT_TENANT = "default"
_GUARDED = "/v1/"
_OPEN = callback_tokens.PATH
"""Upstream has no key of ours: a token in the address and a signature say who calls."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The tenant that a request is made for; an operator (`admin`) sees every tenant."""

    tenant: str
    admin: bool

    def may_see(self, tenant: str) -> bool:
        """Whether that tenant's things are the caller's to see."""
        return self.admin or tenant == self.tenant

    def require_admin(self) -> None:
        """Refuse a tenant's key.

        Raises:
            Problem: `operators_only`.
        """
        if not self.admin:
            raise Problem("operators_only", "use a key of DARKROOM_ADMIN_KEYS")


class Keyring:
    """The configured keys, kept as hashes: looking one up takes as long for a near miss as for a far one."""

    def __init__(self, settings: ServiceSettings) -> None:
        """Read the keys.

        Raises:
            ConfigurationError: keys are required and none is set.
        """
        self._open = settings.auth == "off"
        self._callers = {_digest(key): Caller(tenant, False) for key, tenant in settings.api_keys.items()}
        self._callers |= {_digest(key): Caller(name, True) for key, name in settings.admin_keys.items()}
        if not (self._open or self._callers):
            raise ConfigurationError(
                ["DARKROOM_API_KEYS: no key is set, so nobody could use the API; set tenant:key, or DARKROOM_AUTH=off"]
            )

    def caller(self, authorization: str | None) -> Caller:
        """Tell who calls by the Authorization header.

        Raises:
            Problem: `unauthorized`.
        """
        if self._open:
            return Caller(DEFAULT_TENANT, True)
        scheme, _, key = (authorization or "").partition(" ")
        found = self._callers.get(_digest(key.strip())) if scheme.lower() == "bearer" else None
        if found is None:
            known_way = scheme.lower() == "bearer" and key.strip()
            detail = "the API key is not known" if known_way else "send the header Authorization: Bearer <API key>"
            raise Problem("unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="darkroom"'})
        return found


class Authentication:
    """ASGI middleware: lets nothing under /v1/ through without a key, and notes the caller for the routes."""

    def __init__(self, app: ASGIApp, *, keyring: Keyring) -> None:
        self.app = app
        self.keyring = keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request."""
        if scope["type"] == "http" and scope["path"].startswith(_GUARDED) and not scope["path"].startswith(_OPEN):
            try:
                scope["darkroom.caller"] = self.keyring.caller(Headers(scope=scope).get("authorization"))
            except Problem as problem:
                await problem.response()(scope, receive, send)
                return
        await self.app(scope, receive, send)


def caller_of(request: Request) -> Caller:
    """Give the caller of a request under /v1/."""
    caller: Caller = request.scope["darkroom.caller"]
    return caller


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
