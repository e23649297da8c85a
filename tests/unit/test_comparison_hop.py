"""One hop: what the publisher prepared is what a relay takes, and the forwarder beside it forwards everything."""

from types import SimpleNamespace

from fabric.protocol.envelope.verify import RootCache, Verified, open_envelope
from scripts.comparison.hop import proxy_hop
from scripts.comparison.hop_ends import HOP_BYTES, Prepared
from tests.support import EVERYTHING, Authority


def test_prepared_envelopes_verify_and_each_is_another_one():
    sensor = Authority().issue("sensor", grants=EVERYTHING)
    prepared = Prepared(SimpleNamespace(id="sensor", credential=sensor.credential, signer=sensor.signer))
    calls = []
    prepared.prepare(7, lambda: calls.append(1))
    raws = list(prepared.envelopes())
    opened = [open_envelope(raw, {sensor.credential.digest: sensor.credential}, RootCache()) for raw in raws]
    assert all(isinstance(each, Verified) for each in opened)
    assert [each.header.sequence for each in opened] == list(range(9)), "three share a signature"
    assert len({each.envelope.signature for each in opened}) == 3 and len({each.id for each in opened}) == 9
    assert all(HOP_BYTES <= len(raw) <= HOP_BYTES + 1_000 for raw in raws)
    assert len(calls) == 3


def test_what_is_left_of_them_is_dropped_and_numbers_go_on():
    sensor = Authority().issue("sensor", grants=EVERYTHING)
    prepared = Prepared(SimpleNamespace(id="sensor", credential=sensor.credential, signer=sensor.signer))
    prepared.prepare(3, lambda: None)
    prepared.prepare(3, lambda: None)
    opened = [
        open_envelope(raw, {sensor.credential.digest: sensor.credential}, RootCache()) for raw in prepared.envelopes()
    ]
    assert [each.header.sequence for each in opened] == [3, 4, 5]


def test_the_forwarder_forwards_all_that_it_is_sent(tmp_path):
    with proxy_hop(tmp_path / "peer") as side:
        first, second = side.window(0.05), side.window(0.05)
    for window in (first, second):
        assert window.lost == 0 and window.values["bytes"] > 0
        assert list(window.cpu_us) == ["publisher", "proxy", "reader"]
