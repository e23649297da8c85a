"""What every test of a simulated tree begins with."""

import pytest

from tests.simulation.signatures import remembered


@pytest.fixture(autouse=True)
def _each_signature_once():
    with remembered():
        yield
