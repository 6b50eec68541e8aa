"""What the sample app acknowledged is stored, once, and no request is lost while MySQL restarts."""

import contextlib
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import client
import pytest
from load import PAUSE, Load


@pytest.fixture
def reporting(server, app):
    """reporting() reports errors in a project of its own while the block runs; gives that project's address, and a list
    of what was reported with its answer.
    """

    @contextlib.contextmanager
    def reporting(clients=2):
        path, answers, over = f"/api/projects/sanso-{uuid.uuid4().hex}/errors", [], threading.Event()

        def report():
            while not over.wait(PAUSE):
                body = {"type": "Probe", "message": uuid.uuid4().hex}
                answer = client.request(server, app.host_name, path, "POST", body=body, seconds=30)
                answers.append((body["message"], answer))

        with ThreadPoolExecutor(clients) as pool:
            reporters = [pool.submit(report) for _ in range(clients)]
            try:
                yield path, answers
            finally:
                over.set()
            for each in reporters:
                each.result()

    return reporting


@pytest.mark.parametrize("how", ["systemctl restart {unit}", "systemctl kill --signal=KILL {unit}"])
def test_database_that_restarts_costs_no_request_and_each_report_is_stored_once(server, app, reporting, how):
    with reporting() as (path, answers), Load(server, app.host_name, f"{path}?limit=1", clients=4) as load:
        for _ in range(2):
            server.host.check_output(how.format(unit="mysql.service"))
            server.host.check_output("timeout 60 sh -c 'until mysqladmin --silent ping; do sleep 0.2; done'")
            load.wait_for(20)
    assert load.failed == Counter(), load.problems
    assert Counter(answer.status for _, answer in answers) == Counter({201: len(answers)})
    stored, after = [], ""
    while after is not None:
        page = client.request(server, app.host_name, f"{path}?limit=200{after and f'&after={after}'}").data
        stored += [error["message"] for error in page["errors"]]
        after = page["next"]
    assert Counter(stored) == Counter(message for message, _ in answers)
