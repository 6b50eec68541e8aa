"""Times of one request are right beside those of the other tiers."""

from sanso_tracing import recording


def test_reading_that_was_held_up_between_the_clocks_does_not_count(monkeypatch):
    """The wall clock is 1000 ahead. In the first reading, 500 pass before it is read."""
    steady = iter([0, 500, 600, 602, 700, 702])
    wall = iter([1500, 1601, 1701])
    monkeypatch.setattr(recording, "perf_counter_ns", lambda: next(steady))
    monkeypatch.setattr(recording, "time_ns", lambda: next(wall))
    assert recording.epoch() == 1000
