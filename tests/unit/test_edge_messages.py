"""A message that is read is the same as one that is made, and nobody changes it."""

import copy
import pickle
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from fabric.edge.messages import Message, messages_of
from fabric.protocol.core.ready import Delivery
from fabric.protocol.vocabulary.tlp import Label
from tests.support import EVERYTHING, Authority, verified

ORIGIN = Authority("messages").issue("zeek-1", grants=EVERYTHING)


def test_one_that_is_read_is_a_message_like_any_other():
    message = verified(ORIGIN, records=[{"a": 1, "b": "x"}, {"a": 2}], rules={"a": Label.AMBER})
    first, second = messages_of(Delivery(message, 5, ("low", "hq")))
    assert type(first) is Message and second.id == f"{message.id.hex()}.1" and second.age_ms == 5
    again = Message(**{each.name: getattr(first, each.name) for each in fields(first)})
    assert again == first == replace(second, id=first.id, content=first.content, labels=first.labels)
    assert first == copy.deepcopy(first) == pickle.loads(pickle.dumps(first)) and first != second
    with pytest.raises(FrozenInstanceError):
        first.topic = "another"
