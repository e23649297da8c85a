"""Whether a credential counts now: who is revoked does not, nor who is over by every clock that this node goes by."""

import pytest

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.standing import Standing
from tests.support import EVERYTHING, Authority

WHO = Authority("standing").issue("fw-1", grants=EVERYTHING).credential
OVER, BUSY = Reject(Code.CREDENTIAL_EXPIRED, "fw-1"), Reject(Code.BUSY, "the time is not known yet")


class Knows:
    """What is known of who is revoked, and of the time."""

    def __init__(self, *, known=True):
        self.known = known

    def clocks(self, now_ms):
        return (now_ms + 7,)

    def for_now(self, problem):
        return problem if self.known or problem is None else BUSY

    def check(self, credential, clocks_ms):
        assert credential is WHO
        return OVER if clocks_ms == (17,) else None


@pytest.mark.parametrize(("now_ms", "known", "said", "for_now"), [
    (10, True, OVER, OVER), (10, False, OVER, BUSY), (11, True, None, None), (11, False, None, None),
])
def test_what_the_clocks_say_of_a_credential(now_ms, known, said, for_now):
    standing = Standing(Knows(), Knows(known=known))
    assert standing.check(WHO, now_ms) == standing.checks(now_ms)(WHO) == said
    assert standing.check_for_now(WHO, now_ms) == for_now
