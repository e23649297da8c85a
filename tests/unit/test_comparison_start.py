"""How long a relay takes to begin."""

from types import SimpleNamespace

import pytest

from scripts.comparison.processes import Failed
from scripts.comparison.start import Starting


def test_a_relay_that_ends_before_it_serves_is_a_failure(tmp_path):
    with pytest.raises(Failed, match="ended before it served"):
        Starting(SimpleNamespace(home=tmp_path, folder=tmp_path / "bench"))._serving()
