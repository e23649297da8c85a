"""The chain of NATS servers that a comparison is with: three hops over TLS, and one server that keeps."""

import shutil
import ssl

import pytest

from scripts.comparison.chains import RELAYS, jetstream, leaf_chain, make_certificate
from scripts.comparison.measuring import streaming, waiting

pytestmark = pytest.mark.skipif(
    shutil.which("nats-server") is None or shutil.which("openssl") is None, reason="no program nats-server, or openssl"
)


def test_the_certificate_vouches_for_this_machine_alone(tmp_path):
    make_certificate(tmp_path / "made")
    context = ssl.create_default_context(cafile=tmp_path / "made" / "host.pem")
    (trusted,) = context.get_ca_certs()
    assert trusted["subjectAltName"] == (("IP Address", "127.0.0.1"),)


@pytest.mark.parametrize("how", ["stream", "arrays", "singles"])
def test_all_that_is_published_gets_through_three_servers(tmp_path, how):
    with (
        leaf_chain(tmp_path / "peer") as chain,
        streaming(chain, how, "stream" if how == "singles" else how) as side,
    ):
        found = side.window(0.05)
    assert found.lost == 0 and found.values["records"] > 0
    assert list(found.cpu_us) == ["publisher", *RELAYS, "reader"]


def test_one_event_after_the_other_is_measured(tmp_path):
    with leaf_chain(tmp_path / "peer") as chain, waiting(chain) as side:
        found = side.window(0.1)
    assert found.lost == 0 and 0 < found.values["p50"] <= found.values["p99"] <= found.values["max"]


def test_a_server_that_keeps_acknowledges_all(tmp_path):
    with jetstream(tmp_path / "peer") as chain, streaming(chain, "durable", "durable") as side:
        found = side.window(0.05)
    assert found.lost == 0 and found.values["records"] > 0
    assert list(found.cpu_us) == ["publisher", "hq", "reader"]
