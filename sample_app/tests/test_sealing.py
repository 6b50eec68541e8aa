import pytest

from sample_app import create_app, sealing

SECRET = {"secret": "三層"}


@pytest.fixture
def within(make):
    """within(key, do) does it in an app that has this key."""

    def within(key, do):
        with make(WEBHOOK_KEY=key).app_context():
            return do()

    return within


def test_what_is_sealed_can_be_read_with_the_key_alone(within):
    sealed = within("a" * 32, lambda: sealing.seal(SECRET))
    assert "三層" not in sealed
    assert within("a" * 32, lambda: sealing.unseal(sealed)) == SECRET
    for key in ("b" * 32, None):
        with pytest.raises(sealing.Unreadable):
            within(key, lambda: sealing.unseal(sealed))


def test_a_key_can_be_replaced_by_and_by(within):
    sealed = within("a" * 32, lambda: sealing.seal(SECRET))
    both = f"{'b' * 32} {'a' * 32}"
    assert within(both, lambda: sealing.unseal(sealed)) == SECRET
    assert within("b" * 32, lambda: sealing.unseal(within(both, lambda: sealing.seal(SECRET)))) == SECRET


def test_a_key_that_can_be_guessed_is_refused():
    with pytest.raises(RuntimeError, match="WEBHOOK_KEY must be 32 random characters"):
        create_app({"DATABASE_URL": "sqlite:////nowhere", "WEBHOOK_KEY": "secret"})
