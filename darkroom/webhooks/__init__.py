"""Signed webhooks out."""
