"""The workers: Celery tasks that start each stage, the reactor that does the network, the poller that waits."""
