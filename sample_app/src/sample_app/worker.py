"""The app as Celery's command finds it: `celery --app sample_app.worker`."""

from . import create_app

celery = create_app().extensions["celery"]
if celery is None:
    raise RuntimeError("Set REDIS_URL to the queue's URL, for example unix:///run/redis/faults.sock")
