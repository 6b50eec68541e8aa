"""How Celery works here: through Redis, and without losing a job. The worker of the app is

celery --app sample_app.worker worker --beat
"""

from celery import Celery, Task
from flask import Flask

# In seconds. No attempt to deliver takes longer: the process that makes it is ended, and another one takes over.
LONGEST = 25
# For so long a job that was begun is its worker's. That of a worker that was killed is queued again by the next sweep
# after it, and given out again by Redis itself after VISIBLE.
LEASE = 30
VISIBLE = 40
SWEEP = 5


def init_app(app: Flask) -> None:
    """Make the app's Celery, if it has a Redis. It connects when something is queued first, so after uWSGI's fork."""
    app.extensions["celery"] = None
    if not app.config.get("REDIS_URL"):
        return

    class InApp(Task):
        def __call__(self, *arguments, **keywords):
            with app.app_context():
                return self.run(*arguments, **keywords)

    celery = Celery("sample_app", task_cls=InApp, set_as_current=False)
    celery.conf.update(
        broker_url=broker(app.config["REDIS_URL"]),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": VISIBLE,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": 5,
        },
        task_publish_retry=False,  # a request doesn't wait for Redis: what isn't queued now is by the next sweep
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,  # the database has it
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=LONGEST,
        worker_prefetch_multiplier=1,
        worker_concurrency=int(app.config.get("WEBHOOK_CONCURRENCY") or 2),
        worker_enable_remote_control=False,
        beat_scheduler="celery.beat:Scheduler",  # which keeps no file
        beat_schedule={
            "sweep": {"task": "sample_app.webhooks.sweep", "schedule": SWEEP, "options": {"expires": SWEEP}}
        },
        imports=["sample_app.webhooks"],
    )
    celery.set_default()
    app.extensions["celery"] = celery


def broker(url: str) -> str:
    """A Redis's URL in Celery's words."""
    return url.replace("unix://", "redis+socket://", 1) if url.startswith("unix://") else url
