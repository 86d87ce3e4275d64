"""The Celery application: `celery -A worker.app worker` is what `darkroom worker` comes down to."""

import sys
from typing import Any

from celery import Celery
from celery.signals import setup_logging
from kombu import Queue

from darkroom import messages
from darkroom.errors import ConfigurationError
from darkroom.settings import Settings, load_settings
from darkroom.telemetry.logs import configure_logging
from worker.bootstep import ReactorStep
from worker.start_refusal import refuse
from worker.tasks import Runtime, register
from worker.transport import use_forgiving_transports

BROKER_TIMEOUT_S = 5.0


class DarkroomCelery(Celery):
    """A Celery application that knows its settings and, in a worker process, the reactor its tasks run in."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("darkroom", broker=settings.redis.broker_url, set_as_current=False)
        self.settings = settings
        self.runtime = Runtime()


def make_app(settings: Settings) -> DarkroomCelery:
    """Make the application with its queues, tasks and the reactor step."""
    use_forgiving_transports()
    app = DarkroomCelery(settings)
    app.conf.update(
        task_queues=[Queue(queue, durable=True) for queue in dict.fromkeys(messages.QUEUES.values())],
        task_routes={task: {"queue": queue} for task, queue in messages.QUEUES.items()},
        task_default_queue=messages.QUEUES[messages.DISPATCH],
        task_create_missing_queues=False,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_pool="threads",
        worker_concurrency=16,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_soft_shutdown_timeout=0,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options=_transport_options(settings.redis.broker_url),
        enable_utc=True,
    )
    register(app, app.runtime)
    app.steps["worker"].add(ReactorStep)
    return app


def _transport_options(broker_url: str) -> dict[str, Any]:
    options = messages.broker_options(broker_url)
    if not options:
        return {}
    # Without timeouts a broker that falls silent holds publishing, and the worker's leaving, for ever.
    limits = {"socket_timeout": BROKER_TIMEOUT_S, "socket_connect_timeout": BROKER_TIMEOUT_S}
    return options | limits | {"socket_keepalive": True, "health_check_interval": 25}


def _load() -> Settings:
    try:
        return load_settings()
    except ConfigurationError as error:
        refuse(*error.problems)
        sys.exit(2)


@setup_logging.connect
def _configure_logging(**_: object) -> None:
    configure_logging(app.settings.service.log_format)


app = make_app(_load())
