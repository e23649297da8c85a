"""The mock cluster of librdkafka, in a process of its own, for tests: brokers that speak Kafka's protocol."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

_PROGRAM = """
import sys
from confluent_kafka import Producer
mock = Producer({"test.mock.num.brokers": 3, "log_level": 0})
brokers = mock.list_topics(timeout=20).brokers.values()
print(",".join(f"127.0.0.1:{broker.port}" for broker in brokers), flush=True)
sys.stdin.read()
"""


class Cluster:
    def __init__(self):
        pytest.importorskip("confluent_kafka")
        command = [sys.executable, "-c", _PROGRAM]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.servers = self._process.stdout.readline().decode().strip().split(",")

    @contextmanager
    def frozen(self):
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def end(self):
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def stored(self, topic):
        """Of each message of a topic, by partition: its key, headers and content."""
        from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": ",".join(self.servers), "group.id": "test", "log_level": 0,
                             "enable.auto.commit": False, "enable.partition.eof": False})
        try:
            parts = [TopicPartition(topic, number, OFFSET_BEGINNING)
                     for number in consumer.list_topics(topic, timeout=20).topics[topic].partitions]
            total = sum(consumer.get_watermark_offsets(part, timeout=20)[1] for part in parts)
            consumer.assign(parts)
            found, until_s = {}, time.monotonic() + 20
            while sum(map(len, found.values())) < total:
                assert time.monotonic() < until_s, f"{total} messages in {topic}"
                each = consumer.poll(0.1)
                if each is not None and not each.error():
                    headers = {name: value.decode() for name, value in each.headers()}
                    found.setdefault(each.partition(), []).append((each.key(), headers, json.loads(each.value())))
            return found
        finally:
            consumer.close()
