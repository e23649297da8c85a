"""What tests of streams over HTTP need: messages, a feed of them, and a client that reads events by the letter.

The client is WHATWG HTML 9.2.6, field by field, with nothing of the gateway in it.
"""

import json
import queue
import socket
import threading
from typing import NamedTuple

from fabric.edge.messages import Message
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Label


def message(number, topic="detections.x", labels=None, label=Label.CLEAR, content=None, ttl_ms=3_600_000):
    content = {"n": number} if content is None else content
    return Message(
        f"{number:032x}.0", topic, "event", "s", Severity.LOW, Phase.NONE, label, 1, ttl_ms, 0, ("hq",), content,
        labels or dict.fromkeys(content, label), {},
    )


class Fed:
    """A feed that gives what a test puts in. `begun`: how often it was."""

    def __init__(self):
        self.begun, self.topics, self.reads = 0, (), []
        self._items = queue.SimpleQueue()
        self.taken = threading.Semaphore(0)
        self.tell = None

    def feed(self, topics, tell):
        self.topics, self.tell = topics, tell
        return self

    def read_by(self, readers, away):
        self.reads.append((readers, away))

    def run(self, take):
        self.begun += 1
        while (item := self._items.get()) is not None:
            if isinstance(item, Exception):
                raise item
            take(item)
            self.taken.release()
        raise FabricError(Code.CLOSED)

    def stop(self):
        self._items.put(None)

    def put(self, *messages):
        """They are there for all that read when this returns."""
        self._items.put(list(messages))
        assert self.taken.acquire(timeout=20)

    def fail(self, error):
        self._items.put(error)


class Event(NamedTuple):
    name: str
    data: object
    id: str


class Client:
    """Reads a stream, from its first byte on."""

    def __init__(self, address, headers, query="", last=None, version="1.1", method="GET", tls=None):
        self.socket = socket.create_connection(address, 20)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=address[0])
        more = {**headers, **({} if last is None else {"Last-Event-ID": last})}
        fields = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "x", **more}.items())
        self.socket.sendall(f"{method} /v1/stream{query} HTTP/{version}\r\n{fields}\r\n".encode("latin-1"))
        self.file = self.socket.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(": ")
            self.headers[name.lower()] = value
        self._is_chunked = self.headers.get("transfer-encoding") == "chunked"
        self._text, self._id, self.comments = b"", "", 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def problem(self):
        return json.loads(self.file.read(int(self.headers["content-length"])))

    def next(self):
        """The next event; None at the end of the stream."""
        name, data = "", []
        while (line := self._line()) is not None:
            if line.startswith(b":"):
                self.comments += 1
                continue
            if line:
                field, _, value = line.partition(b":")
                value = value.removeprefix(b" ").decode()
                if field == b"event":
                    name = value
                elif field == b"data":
                    data.append(value)
                elif field == b"id":
                    self._id = value
                elif field == b"retry":
                    self.retry = value
                continue
            if data:
                return Event(name or "message", json.loads("\n".join(data)), self._id)
            name, data = "", []
        return None

    def comment(self):
        """Past the next comment."""
        before = self.comments
        while self.comments == before:
            line = self._line()
            assert line is not None, "the stream ended"
            if line.startswith(b":"):
                self.comments += 1
            elif line.startswith(b"id: "):
                self._id = line[4:].decode()

    @property
    def last_id(self):
        return self._id

    def _line(self):
        while b"\n" not in self._text:
            more = self._more()
            if not more:
                return None
            self._text += more
        line, _, self._text = self._text.partition(b"\n")
        assert b"\r" not in line and b"\0" not in line
        return line

    def _more(self):
        if not self._is_chunked:
            return self.file.read1(65_536)
        size = int(self.file.readline() or b"0", 16)
        data = self.file.read(size)
        self.file.readline()
        return data

    def numbers(self, count):
        """Of the next messages, which is all that may come."""
        events = [self.next() for _ in range(count)]
        assert [event.name for event in events] == ["message"] * count, events
        return [event.data["content"]["n"] for event in events]
