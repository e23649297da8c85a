"""What one who opens and leaves sessions costs others, and the sessions of its own identity that did nothing."""

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import SESSIONS_READING_MAX
from fabric.protocol.core.ready import Tick
from fabric.protocol.routes.attachments import sign_attachment
from fabric.protocol.wire.frames import Ack, Intro, Refused, Role, Routes
from tests.driven import ANNA, BOB, DORA, Driven, destination, id_of


@pytest.fixture
def talk(tmp_path):
    talk = Driven(tmp_path / "hq.db")
    yield talk
    talk.spool.close()


def read_as(talk, member, number):
    """One more session of this identity, that subscribes and keeps nothing."""
    talk.now_ms += 30  # so that it is let in at once
    session, patterns = number.to_bytes(16, "big"), ("detections.>",)
    link = talk.connect(member, Role.POINT, session=session)
    raw = sign_attachment(member.credential, member.signer, session, "hq", talk.now_ms, False, patterns, 0)
    talk.say(link, Intro([member.credential.raw]))
    talk.say(link, Routes(1, True, [raw], []))
    return link


@pytest.mark.parametrize("restarts", [False, True])
def test_i_read_with_all_that_its_identity_may_and_what_waits_for_its_daemon_is_lost(talk, restarts):
    """The daemon is away; sixteen others of its identity subscribe: it is refused when it comes back."""
    talk.lose(talk.come(ANNA))
    ids = talk.publish(range(30))
    if restarts:
        talk.restart()
    others = [read_as(talk, ANNA, n) for n in range(SESSIONS_READING_MAX)]
    daemon = talk.come(ANNA)
    (refused,) = talk.heard(daemon, Refused)
    assert refused.code is Code.TOO_MANY_SESSIONS and daemon in talk.closed
    talk.lose(others[0])
    assert talk.read(talk.come(ANNA), 80) == ids, "it is away for as long as it may be, and nothing of its ends"


def test_i_read_nothing_and_who_was_forgotten_and_comes_back_gets_nothing_new(talk):
    """What waits for both is awake because of me, so its rows end a part a turn; meanwhile the other is here again."""
    read_as(talk, DORA, 1)
    talk.lose(talk.come(ANNA, keep_ms=1_000))
    talk.publish(range(1_200))
    talk.now_ms += 2_000
    talk.step(Tick())
    assert talk.core.ending and not talk.core.sessions.knows(destination(ANNA))
    anna = talk.come(ANNA)
    new = talk.publish(range(5_000, 5_003))
    got = talk.read(anna, 30)
    for _ in range(4):
        talk.wait(250)
        got += talk.read(anna, 30)
    assert not talk.core.ending and got[-3:] == new


def test_i_was_forgotten_and_what_waits_for_another_as_well_does_not_bring_me_back(talk):
    """My rows end a part a turn; what falls asleep for the other meanwhile is not to sleep for me."""
    quick = read_as(talk, DORA, 1)
    talk.lose(talk.come(ANNA, keep_ms=1_000))
    talk.lose(talk.come(BOB))
    talk.publish(range(1_500))
    talk.now_ms += 2_000
    talk.step(Tick())
    assert talk.core.ending and not talk.core.sessions.knows(destination(ANNA))
    while talk.core.ending:
        talk.say(quick, Ack([id_of(item.envelope) for item in talk.items(quick)]))
        assert not talk.asleep(ANNA) and not talk.core.sessions.knows(destination(ANNA))
    assert destination(ANNA) not in talk.core.outboxes
    talk.read(quick, 30)
    talk.wait(500)
    assert talk.asleep(BOB) > 1_000
