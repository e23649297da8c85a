"""What a fault means for what was produced: it may be taken later, or never will be.

Guarantees: of what a broker or the library says only the name of the fault is said.
"""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.handing.trying import NotNowError, NotUsError

_LET_IN: Final = "look at sasl, user, password and certificate, and at what that user may do there"
_TOPIC: Final = "make the topic, or let the brokers make it; and look at topic"
_TOO_LARGE: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
_STEPS: Final = {
    KafkaError._AUTHENTICATION: _LET_IN, KafkaError.SASL_AUTHENTICATION_FAILED: _LET_IN,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: _LET_IN, KafkaError.CLUSTER_AUTHORIZATION_FAILED: _LET_IN,
    KafkaError._SSL: "look at the brokers' certificate, and at ca, certificate and tls",
    KafkaError._UNKNOWN_TOPIC: _TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART: _TOPIC,
    KafkaError.TOPIC_EXCEPTION: _TOPIC, KafkaError._UNKNOWN_PARTITION: _TOPIC,
    KafkaError._RESOLVE: "look at servers: a name is not known",
}
_WORDS: Final = {
    KafkaError._ALL_BROKERS_DOWN: "no broker answers", KafkaError._TRANSPORT: "no broker answers",
    KafkaError._RESOLVE: "its name is not known", KafkaError._SSL: "TLS: it is not accepted",
    KafkaError._AUTHENTICATION: "it does not let us in", KafkaError.SASL_AUTHENTICATION_FAILED: "it does not let us in",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "it does not let us do this",
    KafkaError._UNKNOWN_TOPIC: "the topic is not there", KafkaError.UNKNOWN_TOPIC_OR_PART: "the topic is not there",
    KafkaError.NOT_ENOUGH_REPLICAS: "too few replicas are in sync",
}


def refusal_of(error: KafkaError, where: str) -> FabricError | None:
    """Why a message never will be taken; None where it may be."""
    if error.code() not in _TOO_LARGE:
        return None
    return FabricError(Code.TOO_LARGE, f"{where} takes no message of its size",
                       "raise message_max, and max.message.bytes of the topic")


def not_now(error: KafkaError, where: str) -> NotNowError:
    """For a fault of the connection, or of a message that may be taken later."""
    step = _STEPS.get(error.code(), "")
    refused = NotUsError if step == _LET_IN else NotNowError
    return refused(f"{where}: {_words_of(error)}", step)


def _words_of(error: KafkaError) -> str:
    return _WORDS.get(error.code(), f"error {error.name()} of Kafka")
