"""Messages in Kafka, as librdkafka's mock cluster plays it: in order of their key, and there when acknowledged."""

import socket
import threading
from dataclasses import replace

import pytest

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.handing import trying
from relays.gateways.kafka.sink import SINK
from relays.gateways.kinds import Place
from relays.gateways.options import Options, checked
from tests.unit.gateways.kafka_support import Cluster
from tests.unit.gateways.support import Outtake, hand_over, message


def read(**more):
    options = Options({"servers": "127.0.0.1:9092", **more})
    settings = checked(SINK.read, options, [*(option.name for option in SINK.options), "max_label"])
    return settings, {fault.key: fault for fault in options.faults}


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(trying, "FIRST_S", 0.001)


@pytest.fixture(scope="module")
def cluster():
    made = Cluster()
    yield made
    made.end()


def run(servers, groups, *, stop_when=bool, then=lambda _why: None, **more):
    settings, faults = read(servers=servers, **more)
    assert not faults
    return hand_over(SINK, settings, groups, stop_when=stop_when, then=then)


def test_each_message_is_there_in_order_with_its_key_and_what_is_routed_by(cluster):
    groups = [[replace(message(n), origin=f"zeek-{n % 3}") for n in range(at, at + 30)] for at in (0, 30)]
    outtake = run(cluster.servers, groups, topic="first.{topic}")
    assert outtake.acknowledged == groups[0] + groups[1] and outtake.waited == []
    stored = cluster.stored("first.detections.x")
    by_key = {}
    for partition, found in stored.items():
        for key, headers, content in found:
            by_key.setdefault(key, []).append((partition, content["content"]["n"]))
            assert headers["Fabric-Id"] == content["id"] and headers["Fabric-Tlp"] == "amber"
    assert by_key.keys() == {b"zeek-%d detections.x" % n for n in range(3)}
    for key, found in by_key.items():
        assert len({partition for partition, _ in found}) == 1
        assert [n for _, n in found] == list(range(int(key[5:6]), 60, 3))


@pytest.mark.parametrize(("order_by", "key"), [
    ("origin", b"s"), ("topic", b"detections.x"), ("id", message(1).id.encode()), ({"field": "a.b"}, b"x"),
    ({"field": "n"}, b"1"), ({"field": "none"}, b"null"),
])
def test_what_orders_them_is_declared(cluster, order_by, key):
    topic = f"by-{order_by if isinstance(order_by, str) else order_by['field'].replace('.', '-')}"
    one = replace(message(1), content={"n": 1, "a": {"b": "x"}}, labels={"n": Label.GREEN, "a.b": Label.GREEN})
    assert run(cluster.servers, [[one]], topic=topic, order_by=order_by).acknowledged == [one]
    assert [found[0][0] for found in cluster.stored(topic).values()] == [key]


def test_what_is_too_large_is_a_dead_letter_and_hinders_no_other(cluster):
    large, long = message(2, {"n": "x" * 5_000}), replace(message(3), topic="t" * 250)
    outtake = run(cluster.servers, [[1, large, 4], [long]], topic="{topic}", message_max="4KB")
    assert outtake.rejected == [(large.id, Code.TOO_LARGE), (long.id, Code.TOO_LARGE)]
    found = [content["content"]["n"] for part in cluster.stored("detections.x").values() for _, _, content in part]
    assert found == [1, 4] and outtake.acknowledged == [1, large, 4, long]


def test_brokers_that_do_not_answer_are_waited_for_and_nothing_is_twice(cluster):
    run(cluster.servers, [[0]], topic="frozen")
    back = []

    def thaw(why):
        if why is not None and not back:
            back.append(why)
            frozen.__exit__(None, None, None)

    frozen = cluster.frozen()
    frozen.__enter__()
    outtake = run(cluster.servers, [[1, 2, 3], [4]], topic="frozen", timeout="300ms", stop_when=lambda _: False,
                  then=thaw)
    assert back and outtake.waited[-1] is None and outtake.acknowledged == [1, 2, 3, 4]
    found = [content["content"]["n"] for part in cluster.stored("frozen").values() for _, _, content in part]
    assert found == [0, 1, 2, 3, 4]


def test_where_nobody_listens_that_is_said_and_nothing_is_acknowledged():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    outtake = run([f"127.0.0.1:{port}"], [[1]], timeout="500ms")
    assert outtake.waited == [f"127.0.0.1:{port}: no broker answers"] and outtake.acknowledged == []


def test_tls_that_is_none_and_names_that_are_none_are_said(cluster, tmp_path):
    outtake = run(cluster.servers, [[1]], tls=True, timeout="1s")
    assert outtake.acknowledged == [] and outtake.waited
    (tmp_path / "ca.pem").write_text("none")
    settings = read(tls=True, ca=str(tmp_path / "ca.pem"))[0]
    with pytest.raises(FabricError) as raised:
        SINK.open(settings, Place("siem-1", "bus", None, None)).run(Outtake([1]), threading.Event())
    assert raised.value.code is Code.SOURCE_UNFIT and "ca.pem" in str(raised.value)


class Broken:
    """A producer that breaks for good in the midst of a group, which no mock cluster does on request."""

    def __init__(self, conf, *, made, sent, fatal):
        self._said, self._sent, self._fatal, self._waiting = conf["error_cb"], sent, fatal, []
        made.append(self)

    def produce(self, _topic, data, _key, *, headers, on_delivery):
        self._waiting.append((headers["Fabric-Id"], on_delivery))

    def poll(self, _timeout_s):
        if self._fatal and len(self._waiting) == 2:
            self._said(self._fatal)
        elif self._waiting:
            id_, report = self._waiting.pop(0)
            self._sent.append(id_)
            report(None, None)

    def purge(self):
        pass


def test_a_producer_that_broke_for_good_is_made_anew_and_gets_what_was_not_reported_on():
    kafka = pytest.importorskip("confluent_kafka")
    from relays.gateways.kafka.link import Item, Link

    made, sent = [], []
    fatal = kafka.KafkaError(kafka.KafkaError._FATAL, "fenced", True)

    def make(conf, logger):
        return Broken(conf, made=made, sent=sent, fatal=None if made else fatal)

    link = Link(read()[0], "x", make)
    link.begin([Item("t", b"k", {"Fabric-Id": str(n)}, b"{}") for n in range(4)])
    with pytest.raises(trying.NotNowError) as raised:
        link.finish()
    assert "error _FATAL" in raised.value.detail and sent == ["0", "1"]
    assert link.finish() == [None] * 4 and sent == ["0", "1", "2", "3"] and len(made) == 2


# -- what is declared -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("more", "keys"), [
    ({"servers": "kafka"}, {"servers"}), ({"servers": "kafka://127.0.0.1:9092"}, {"servers"}),
    ({"servers": "kafka.example:9092"}, {"servers"}), ({"topic": "a b"}, {"topic"}),
    ({"topic": "x-{topic}"}, {"topic"}),
    ({"order_by": "random"}, {"order_by"}), ({"order_by": {"field": ""}}, {"order_by"}),
    ({"order_by": {"field": "a", "x": 1}}, {"order_by"}), ({"sasl": "GSSAPI"}, {"sasl", "user", "password"}),
    ({"user": "a"}, {"sasl", "password"}), ({"ca": "/x"}, {"ca"}),
    ({"password": "hunter2"}, {"password", "sasl", "user"}),
    ({"message_max": "1GB"}, {"message_max"}),
])
def test_faults_of_a_declaration(more, keys):
    faults = read(**more)[1]
    assert faults.keys() == keys and "hunter2" not in str(faults)


def test_what_crosses_a_network_in_the_clear_has_to_be_said():
    assert not read(servers="kafka.example:9093", tls=True)[1] and not read(servers="[::1]:9092")[1]
    assert not read(servers="kafka.example:9092", max_label="green")[1]


def test_what_it_lacks_is_named():
    need, *_ = SINK.needs(read()[0])
    assert (need.what, need.problem) == ("the package confluent_kafka", "")
    assert "message-fabric[kafka]" in need.next_step
