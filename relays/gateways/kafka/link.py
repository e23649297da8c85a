"""A producer, and what it has not reported on yet.

Guarantees: what `finish` returns for is on all replicas that are in sync. A producer tries by itself, for ever, and is
idempotent: nothing that it has is given to it again while it lives, so nothing is there twice for that. One that broke
for good is made anew, and gets again what it had not reported on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from fabric.protocol.base.errors import FabricError
from relays.gateways.handing.tls import make_context
from relays.gateways.handing.trying import NotNowError
from relays.gateways.kafka.answers import not_now, refusal_of
from relays.gateways.kafka.settings import Settings

_POLL_S: Final = 0.1
# What the library logs may hold what a broker wrote.
_SILENT: Final = logging.Logger("kafka", logging.CRITICAL + 1)  # noqa: LOG001 - it is nobody's child
_LARGER: Final = 4_096  # of a message: its headers, and what the library adds


class Item(NamedTuple):
    """One message, as it is produced."""

    topic: str
    key: bytes
    headers: dict[str, str]
    data: bytes


class Link:
    """For one thread. `name`: what the brokers show of it."""

    def __init__(self, settings: Settings, name: str, make: Callable[..., Any] = Producer) -> None:
        self._settings = settings
        self._name = name
        self._make = make
        self._producer: Any = None
        self._items: list[Item] = []
        self._ended: dict[int, FabricError | None] = {}  # by number within the group: None where it is there
        self._given: set[int] = set()  # which the producer has
        self._failure: KafkaError | None = None  # what the library said last

    def begin(self, items: Sequence[Item]) -> None:
        """These are next. Only when all before them have ended."""
        self._items, self._ended, self._given = list(items), {}, set()

    def finish(self) -> list[FabricError | None]:
        """Of each: None, when it is there, or why it never will be. Raises NotNowError while some are not: then come
        again, for the same ones. Raises NO_SECRET, SOURCE_UNFIT."""
        if self._producer is None:
            self._producer = self._made()
        until_s = time.monotonic() + self._settings.timeout_s
        self._give()
        while len(self._ended) < len(self._items):
            self._producer.poll(_POLL_S)
            if self._failure is not None and (self._failure.fatal() or self._failure.code() == KafkaError._FATAL):
                self._drop()
                raise self._not_now()
            is_stuck = not self._given or time.monotonic() > until_s
            if is_stuck and len(self._ended) < len(self._items):
                raise self._not_now()
        self._failure = None
        return [self._ended[number] for number in range(len(self._items))]

    def close(self) -> None:
        """What is not there is given up: it was not acknowledged."""
        self._drop()

    def _give(self) -> None:
        """What the producer has not, in order."""
        for number, item in enumerate(self._items):
            if number in self._given or number in self._ended:
                continue
            try:
                self._producer.produce(
                    item.topic, item.data, item.key, headers=item.headers,
                    on_delivery=lambda error, _message, number=number: self._report(number, error),
                )
                self._given.add(number)
            except KafkaException as error:
                self._report(number, error.args[0])
            except BufferError:
                return  # it takes more when it has reported on some

    def _report(self, number: int, error: KafkaError | None) -> None:
        self._given.discard(number)
        refusal = refusal_of(error, self._where) if error is not None else None
        if error is None or refusal is not None:
            self._ended[number] = refusal
        else:
            self._failure = error

    def _said(self, error: KafkaError) -> None:
        self._failure = error

    @property
    def _where(self) -> str:
        return self._settings.servers[0]

    def _not_now(self) -> NotNowError:
        if self._failure is None:
            return NotNowError(f"{self._where}: no answer in time")
        return not_now(self._failure, self._where)

    def _made(self) -> Any:
        settings, self._failure = self._settings, None
        conf: dict[str, Any] = {
            "bootstrap.servers": ",".join(settings.servers), "client.id": self._name, "enable.idempotence": True,
            "acks": "all", "message.timeout.ms": 0, "linger.ms": 5, "error_cb": self._said,
            "message.max.bytes": settings.message_max + _LARGER,
            # The length of what is RED must not follow its content.
            "compression.type": "none",
            "security.protocol": f"{'SASL_' if settings.sasl else ''}{'SSL' if settings.is_tls else 'PLAINTEXT'}",
        }
        if settings.is_tls:
            make_context(settings.tls)  # which says what is wrong with the files
            names = {"ssl.ca.location": settings.tls.ca, "ssl.certificate.location": settings.tls.certificate,
                     "ssl.key.location": settings.tls.key}
            conf |= {name: str(path) for name, path in names.items() if path is not None}
        if settings.password is not None:
            conf |= {"sasl.mechanism": settings.sasl, "sasl.username": settings.user,
                     "sasl.password": settings.password.read()}
        try:
            return self._make(conf, logger=_SILENT)
        except KafkaException as error:
            raise not_now(error.args[0], self._where) from None

    def _drop(self) -> None:
        producer, self._producer, self._given = self._producer, None, set()
        if producer is not None:
            producer.purge()
            producer.poll(0)
