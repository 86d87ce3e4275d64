"""Every call of the vendor's API, as a client sees it."""

from __future__ import annotations
