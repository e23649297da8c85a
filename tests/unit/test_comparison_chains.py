"""What a comparison is with: three NATS servers over TLS, one that keeps, and three zenoh routers."""

import shutil
import ssl
from importlib.util import find_spec

import pytest

from scripts.comparison.chains import RELAYS, jetstream, leaf_chain, make_certificate, zenoh_chain
from scripts.comparison.measuring import streaming, waiting

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no program openssl")
with_nats = pytest.mark.skipif(shutil.which("nats-server") is None, reason="no program nats-server")
with_zenoh = pytest.mark.skipif(find_spec("zenoh") is None, reason="no package eclipse-zenoh")


def test_the_certificate_is_trusted_and_vouches_for_no_other(tmp_path):
    make_certificate(tmp_path / "made")
    context = ssl.create_default_context(cafile=tmp_path / "made" / "host.pem")
    assert context.cert_store_stats() == {"x509": 1, "crl": 0, "x509_ca": 0}


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with leaf_chain(tmp_path_factory.mktemp("nats") / "peer") as chain:
        yield chain


@with_nats
@pytest.mark.parametrize("how", ["stream", "arrays", "singles"])
def test_all_that_is_published_gets_through_three_servers(servers, how):
    with streaming(servers, how, "stream" if how == "singles" else how) as side:
        found = side.window(0.05)
    assert found.lost == 0 and found.values["records"] > 0
    assert list(found.cpu_us) == ["publisher", *RELAYS, "reader"]


@with_nats
def test_one_event_after_the_other_is_measured(servers):
    with waiting(servers) as side:
        found = side.window(0.1)
    assert found.lost == 0 and 0 < found.values["p50"] <= found.values["p99"] <= found.values["max"]


@with_nats
def test_a_server_that_keeps_acknowledges_all(tmp_path):
    with jetstream(tmp_path / "peer") as chain, streaming(chain, "durable", "durable") as side:
        found = side.window(0.05)
    assert found.lost == 0 and found.values["records"] > 0
    assert list(found.cpu_us) == ["publisher", "hq", "reader"]


@with_zenoh
def test_all_that_is_published_gets_through_three_routers(tmp_path):
    with zenoh_chain(tmp_path / "peer") as chain:
        with streaming(chain, "stream", "stream") as side:
            found = side.window(0.05)
        with waiting(chain) as side:
            took = side.window(0.1)
    assert found.lost == took.lost == 0 and found.values["records"] > 0
    assert list(found.cpu_us) == ["publisher", *RELAYS, "reader"]
    assert 0 < took.values["p50"] <= took.values["max"]
