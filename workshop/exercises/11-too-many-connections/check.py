"""Too many connections: the app keeps one for each request, until MySQL has none left."""

import pytest

REQUESTS = 60
POOL = 5  # connections that SQLAlchemy's pool keeps of those that were given back, in each worker
SPARE = 2  # workers that ended meanwhile, as one does when there is little to do
OTHERS = 4  # connections that aren't the app's: the check's own, and who reads traces


@pytest.fixture(scope="session")
def asked(lab):
    """Some requests, one after the other: what came of them."""
    lab.mysql("FLUSH STATUS")  # the most connections at once are counted from here on
    return [lab.ask("/", seconds=30).status for _ in range(REQUESTS)]


def test_page(lab):
    lab.page()


def test_answers(asked, lab):
    failed = [status for status in asked if status >= 500]
    said = f"{len(failed)} answered {failed[0]}" if failed else "none"
    lab.expect(f"of {REQUESTS} requests, none is answered 5xx", said, not failed)


def test_connections(asked, lab):
    workers = int(lab.run("pgrep --count --uid %s --full 'uWSGI worker'", lab.app.name))
    needed = workers * min(lab.app.threads, POOL) + SPARE
    query = f"SELECT COUNT(*) FROM performance_schema.processlist WHERE user = '{lab.app.name}'"
    held = int(lab.mysql(query)[0][0])
    most = int(lab.mysql("SHOW GLOBAL STATUS LIKE 'Max_used_connections'")[0][1])
    lab.expect(
        f"after {REQUESTS} requests, the app holds at most {needed} connections, and never held many more",
        f"{held} held, and {most} of all clients at the most",
        held <= needed and most <= needed + OTHERS,
    )
