"""`fabric drain`, where the relay does not do as it is told."""

import pytest

from fabric.edge.identity.home import fabric_folder
from fabric.files import make_private
from fabric.protocol.base.errors import Code, FabricError
from relays.cli.tree import drain
from relays.process.drain import Draining, drain_path, write_draining


def test_a_relay_that_does_not_stop_is_still_asked_to_and_that_is_said(tmp_path, monkeypatch):
    """It stops when it goes on, and stays stopped: whoever was told that it did not would not look for that."""
    monkeypatch.setenv("FABRIC_HOME", str(tmp_path))
    monkeypatch.setattr(drain, "states_of", lambda *_: [{"state": "hanging"}])
    make_private(fabric_folder("small") / "run")
    write_draining(drain_path("small", "hq"), Draining(1000))
    with pytest.raises(FabricError) as raised:
        drain._wait("small", "hq", 0.0, quiet=True)
    assert raised.value.code is Code.TIMED_OUT and "it is hanging, and still asked to" in raised.value.detail
    assert "fabric drain hq --fabric small --back" in raised.value.next_step
