"""Who hands over tells a receiver that is away (E744) from one that is there and refuses (E746)."""

import pytest
from confluent_kafka import KafkaError
from nats import errors
from nats.js.errors import APIError, NoStreamResponseError

from fabric.protocol.base.errors import Code
from relays.gateways.handing.trying import NotNowError
from relays.gateways.kafka.answers import not_now
from relays.gateways.nats.answers import NO_ANSWER, AnswerError
from relays.gateways.nats.answers import refusal_of as refused_by_nats
from relays.gateways.webhook.answers import refusal_of as refused_by_webhook
from relays.handlers.posting import Reply, endpoint_of

AWAY, REFUSED = Code.SINK_AWAY, Code.SINK_REFUSED


def code_of(call, *given):
    """Of what is waited for, or is refused for good."""
    try:
        return call(*given).code
    except NotNowError as error:
        return error.code


@pytest.mark.parametrize(("status", "code"), [
    (500, AWAY), (503, AWAY), (429, AWAY), (101, AWAY), (401, REFUSED), (403, REFUSED), (404, REFUSED), (301, REFUSED),
    (400, REFUSED), (422, REFUSED), (413, Code.TOO_LARGE),
])
def test_of_a_webhook(status, code):
    assert code_of(refused_by_webhook, endpoint_of("https://soc.example/"), Reply(status, b"", None)) is code


@pytest.mark.parametrize(("error", "code"), [
    (TimeoutError(), AWAY), (ConnectionRefusedError(111, "Connection refused"), AWAY), (AnswerError(NO_ANSWER), AWAY),
    (APIError(code=503, err_code=10_077), AWAY),  # the stream is full
    (APIError(code=400, err_code=10_060), REFUSED), (NoStreamResponseError(), REFUSED),
    (errors.AuthorizationError(), REFUSED), (errors.Error("nats: permissions violation"), REFUSED),
    (errors.MaxPayloadError(), Code.TOO_LARGE),
])
def test_of_nats(error, code):
    assert code_of(refused_by_nats, error, "nats.example:4222", "fabric.x") is code


@pytest.mark.parametrize(("number", "code"), [
    (KafkaError._ALL_BROKERS_DOWN, AWAY), (KafkaError._RESOLVE, AWAY), (KafkaError.NOT_ENOUGH_REPLICAS, AWAY),
    (KafkaError._AUTHENTICATION, REFUSED), (KafkaError.SASL_AUTHENTICATION_FAILED, REFUSED),
    (KafkaError.TOPIC_AUTHORIZATION_FAILED, REFUSED),
])
def test_of_kafka(number, code):
    assert not_now(KafkaError(number), "kafka.example:9092").code is code
