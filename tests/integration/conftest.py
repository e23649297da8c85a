"""One fabric for all tests that can share it; it is whole again before each of them."""

import signal
from collections.abc import Iterator

import pytest

from tests.integration.harness import House, house_in


@pytest.fixture(scope="session")
def shared_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house_in(tmp_path_factory.mktemp("trial")) as house:
        house.up()
        yield house
        if house.processes():
            house.down()
        assert not house.processes(), "`fabric down` left something behind"


@pytest.fixture
def house(shared_house: House) -> House:
    shared_house.wait_whole()
    return shared_house


@pytest.fixture
def own_house(tmp_path) -> Iterator[House]:
    """One that is not started, for a test that starts or breaks it its own way."""
    with house_in(tmp_path) as house:
        yield house


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """What a shell starts in the background ignores SIGINT, and so would everything that is started here."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
