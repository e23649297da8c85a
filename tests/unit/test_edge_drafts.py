"""For whom a message with a stamp is."""

import pytest

from fabric.edge.publishing.drafts import NO_STAMP, audience_of
from fabric.protocol.envelope.header import Kind
from fabric.protocol.vocabulary.tlp import Audience
from tests.support import Authority

ME = Authority("drafts").issue("zeek-1", organisation="acme").credential


@pytest.mark.parametrize("kind", [Kind.EVENT, Kind.INTEL, Kind.ACTION])
def test_what_is_published_is_for_its_origin_s_organisation_and_for_the_origin_where_recipients_are_named(kind):
    assert audience_of(NO_STAMP._replace(kind=kind), ME) == Audience(("acme",))
    named = NO_STAMP._replace(kind=kind, audience=Audience(("globex",), (), ("soar-1",)))
    found = audience_of(named, ME)
    assert set(found.organisations) == {"acme", "globex"} and set(found.recipients) == {"soar-1", "zeek-1"}


def test_an_answer_is_for_whom_its_question_was():
    audience = Audience(("globex",), (), ("soar-1",))
    assert audience_of(NO_STAMP._replace(kind=Kind.RESULT, audience=audience), ME) == audience
