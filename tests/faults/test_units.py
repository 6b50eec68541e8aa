"""An app's unit under load: what is killed or restarted loses nobody else's request; workers come and go with work."""

import time

import pytest
from load import Load
from sockets import processes


def workers(host, app):
    """The pids of the app's workers, and that of their master before them."""
    found = processes(host, app.service)
    pids = {process.pid for process in found}
    (master,) = (process.pid for process in found if process.parent not in pids)
    return master, [process.pid for process in found if process.parent == master]


def wait_until(holds, seconds, said):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, said()
        time.sleep(1)


# What happens to the app, and how many requests can be inside of what is killed.
BLOWS = {
    "its master is killed": ("kill -9 {master}", 0),
    "one worker is killed": ("kill -9 {worker}", 1),
    "its unit is restarted": ("systemctl restart {unit}", 0),
    "all its processes are killed": ("systemctl kill --signal=KILL {unit}", None),
    "its unit is stopped": ("systemctl stop {unit}", 0),
}


@pytest.mark.parametrize("blow", BLOWS)
def test_no_request_is_lost_but_those_inside_a_killed_process_when(server, app, blow):
    command, lost = BLOWS[blow]
    with Load(server, app.host_name, "/") as load:
        load.wait_for(50)
        master, (worker, *_) = workers(server.host, app)
        server.host.check_output(command.format(master=master, worker=worker, unit=app.service))
        load.wait_for(100)
    at_most = app.processes * app.threads if lost is None else lost
    assert load.failed.total() <= at_most, load.said


def test_workers_become_more_with_work_and_fewer_without(server, app):
    host, least, most = server.host, app.processes_min, app.processes
    assert least < most, "the inventory's sample app has a fixed number of workers"

    def count():
        return len(workers(host, app)[1])

    wait_until(lambda: count() == least, 60 * (most - least), lambda: f"{count()} workers without any work")
    with Load(server, app.host_name, "/", clients=4 * most, pause=0.02):
        wait_until(lambda: count() == most, 30, lambda: f"{count()} workers under load, not {most}")
    # One after the other; and it takes its time with those that it has just had to start again.
    wait_until(lambda: count() == least, 60 * (most - least), lambda: f"{count()} workers after the load, not {least}")
