"""The label of what is shown: of all that is in it, or of what was not withheld."""

import pytest

from fabric.edge.highest import label_of_visible, label_of_whole
from fabric.protocol.envelope.layout import redact
from fabric.protocol.vocabulary.tlp import Label
from tests.support import Authority, verified

MEMBER = Authority("highest").issue("zeek-1")


def parts_up_to(message, label):
    return redact(message.envelope, message.header.manifest, lambda entry: entry.label <= label).parts


@pytest.mark.parametrize(("cleared", "shown"), [
    (Label.RED, Label.RED), (Label.AMBER, Label.AMBER), (Label.GREEN, Label.GREEN),
])
def test_what_was_withheld_does_not_count_and_what_came_does(cleared, shown):
    records = [{"rule": "port scan", "user": "anna", "secret": "x"}]
    message = verified(MEMBER, records=records, rules={"user": Label.AMBER, "secret": Label.RED}, label=Label.GREEN)
    assert label_of_visible(message.header, parts_up_to(message, cleared)) == shown
    assert label_of_whole(message.header) == Label.RED


def test_nothing_is_shown_under_less_than_its_envelope_s_own_label():
    message = verified(MEMBER, label=Label.AMBER)
    assert label_of_visible(message.header, [None] * len(message.header.manifest)) == Label.AMBER
