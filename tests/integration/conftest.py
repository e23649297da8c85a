"""One fabric for all tests that can share it; it is whole again before each of them."""

import signal
from collections.abc import Iterator

import pytest

from tests.integration import warm
from tests.integration.harness import House, house_in


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Workers are forks (`tests.workers`): they have this one in common, if it is there before them."""
    if session.config.getoption("workers", 0):
        warm.begin()


class _Rest:
    """The shared house is down while tests run that have no relays: four that do nothing all the time cost more."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._is_down = True

    def wake(self) -> None:
        if self._is_down:
            self._house.up()
            self._is_down = False

    def rest(self) -> None:
        if not self._is_down:
            self._is_down = True
            if self._house.processes():
                self._house.down()
            assert not self._house.processes(), "`fabric down` left something behind"

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if item.path.parent.name == "unit":
            self.rest()


@pytest.fixture(scope="session")
def resting_house(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[tuple[House, _Rest]]:
    with house_in(tmp_path_factory.mktemp("trial")) as house:
        rest = _Rest(house)
        pytestconfig.pluginmanager.register(rest)
        yield house, rest
        pytestconfig.pluginmanager.unregister(rest)
        rest.rest()


@pytest.fixture(scope="module")
def shared_house(resting_house: tuple[House, _Rest]) -> House:
    house, rest = resting_house
    rest.wake()
    return house


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
