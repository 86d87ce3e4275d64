"""Where a request that somebody else chose the address of may go."""

from darkroom.network.forms import AddressRefusedError, check_form
from darkroom.network.guard import AddressPolicy, check_url, guarded_session, policy_for_upstream

__all__ = ["AddressPolicy", "AddressRefusedError", "check_form", "check_url", "guarded_session", "policy_for_upstream"]
