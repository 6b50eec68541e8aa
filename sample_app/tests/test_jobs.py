import subprocess
import sys

import pytest

from sample_app import jobs


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("unix:///run/redis/faults.sock", "redis+socket:///run/redis/faults.sock"),
        ("unix:///run/redis/faults.sock?virtual_host=2", "redis+socket:///run/redis/faults.sock?virtual_host=2"),
        ("redis://localhost/0", "redis://localhost/0"),
    ],
)
def test_the_queue_is_the_apps_redis(make, url, broker):
    assert make(REDIS_URL=url).extensions["celery"].conf.broker_url == broker


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("task_acks_late", True), ("task_reject_on_worker_lost", True), ("worker_prefetch_multiplier", 1)),
        *(("accept_content", ["json"]), ("task_serializer", "json"), ("result_backend", None)),
    ],
)
def test_celery_loses_no_job_and_unpickles_none(sending, setting, value):
    assert sending.extensions["celery"].conf[setting] == value


def test_a_jobs_times_follow_each_other(sending):
    """A job ends before another worker may take it, and that may before Redis gives it out again."""
    visible = sending.extensions["celery"].conf.broker_transport_options["visibility_timeout"]
    assert sending.extensions["celery"].conf.task_time_limit < jobs.LEASE < visible


@pytest.mark.parametrize(("said", "concurrency"), [({}, 2), ({"WEBHOOK_CONCURRENCY": "7"}, 7)])
def test_so_many_webhooks_are_sent_at_a_time(make, said, concurrency):
    assert make(REDIS_URL="memory://", **said).extensions["celery"].conf.worker_concurrency == concurrency


def test_without_redis_there_is_no_queue(app):
    assert app.extensions["celery"] is None


def worker(**settings):
    environment = {"DATABASE_URL": "sqlite:////nowhere/faults.db", "PYTHONPATH": "src", **settings}
    command = [sys.executable, "-m", "celery", "--app", "sample_app.worker", "report"]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_worker_finds_the_app():
    done = worker(REDIS_URL="unix:///run/redis/faults.sock")
    assert "redis+socket:///run/redis/faults.sock" in done.stdout, done.stderr


def test_a_worker_without_redis_says_what_to_set():
    done = worker()
    assert done.returncode
    assert "Set REDIS_URL" in done.stderr
