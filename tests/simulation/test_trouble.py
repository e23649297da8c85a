import pytest

from tests.simulation.trouble import tell


@pytest.mark.parametrize("seed", range(12))
def test_after_any_trouble_everything_has_come_to_its_end(seed):
    assert tell(seed).wrong == []
