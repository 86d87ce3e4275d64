"""Reconcile: find out what became of sends whose answer was lost, and never send again blindly.

`open_sends` reads what is not settled, `listing` asks upstream what exists that nobody owns, `matching` says what that
means (pure), and `sweep` applies it under the attempts' fences.
"""

from worker.stages.reconcile.sweep import Reconciler

__all__ = ["Reconciler"]
