"""A node's own questions: asked again until they are answered for good, or their time is over."""

import pytest

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.ready import Answered, Ask
from fabric.protocol.enrolment.questions import Questions
from fabric.protocol.wire.frames import Join, Joined
from tests.support import T0

ONE, TWO = b"1" * 16, b"2" * 16
KEY = b"k" * 32
AGAIN_MS, OVER_MS = 2_000, 20_000


def asked(id_=ONE, issuer="issuer-1"):
    return Ask(id_, issuer, b"request")


@pytest.fixture
def questions():
    made = Questions()
    assert not made
    assert made.add(asked(), KEY, T0) == Join(ONE, "issuer-1", KEY, b"request")
    return made


def test_it_is_asked_again_after_a_while_each_time_and_as_it_was(questions):
    frame = Join(ONE, "issuer-1", KEY, b"request")
    assert questions.due(T0 + AGAIN_MS - 1) == []
    assert questions.due(T0 + AGAIN_MS) == [frame] and questions.due(T0 + AGAIN_MS) == []
    assert questions.due(T0 + 2 * AGAIN_MS - 1) == [] and questions.due(T0 + 2 * AGAIN_MS) == [frame]


def test_its_time_is_over_and_only_its_own(questions):
    questions.add(asked(TWO, "issuer-2"), KEY, T0 + 1)
    assert questions.over(T0 + OVER_MS - 1) == []
    assert questions.over(T0 + OVER_MS) == [Answered(ONE, Reject(Code.NO_ISSUER, "issuer-1"), b"")]
    assert questions and questions.over(T0 + OVER_MS) == []
    assert questions.over(T0 + OVER_MS + 1) == [Answered(TWO, Reject(Code.NO_ISSUER, "issuer-2"), b"")]
    assert not questions


@pytest.mark.parametrize(("frame", "answer"), [
    (Joined(ONE, None, "", b"credential"), Answered(ONE, None, b"credential")),
    (Joined(ONE, Code.TOKEN_USED, "by fw-1", b""), Answered(ONE, Reject(Code.TOKEN_USED, "by fw-1"), b"")),
])
def test_an_answer_for_good_counts_once(questions, frame, answer):
    assert questions.answered(frame) == answer
    assert not questions and questions.answered(frame) is None and questions.due(T0 + OVER_MS) == []


def test_who_cannot_now_is_asked_again_and_is_the_reason_where_nobody_else_answers(questions):
    assert questions.answered(Joined(ONE, Code.BUSY, "hq has no parent now", b"")) is None
    assert len(questions.due(T0 + AGAIN_MS)) == 1
    assert questions.over(T0 + OVER_MS) == [Answered(ONE, Reject(Code.BUSY, "hq has no parent now"), b"")]


def test_what_was_not_asked_is_no_answer(questions):
    assert questions.answered(Joined(TWO, None, "", b"credential")) is None
    assert questions
