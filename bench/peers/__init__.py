"""Darkroom beside what a user would otherwise write: the same jobs, simulator, Valkey, bucket and receiver."""
