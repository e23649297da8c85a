from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import FRAME_ELEMENTS_MAX, ITEMS_MAX
from fabric.protocol.links.answers import Answers
from fabric.protocol.wire.codec import decode_frame, encode_frame
from fabric.protocol.wire.frames import Ack, Nack


def numbered(number):
    return number.to_bytes(16, "big")


def test_each_answer_is_said_once():
    answers = Answers()
    answers.ack(numbered(1))
    answers.nack(numbered(2), Reject(Code.BUSY, "low"))
    answers.ack(numbered(3))
    assert list(answers.frames()) == [Ack([numbered(1), numbered(3)]), Nack([(numbered(2), Code.BUSY, "low")])]
    assert list(answers.frames()) == []


def test_a_frame_holds_no_more_than_one_may():
    answers = Answers()
    acks, nacks = [numbered(n) for n in range(FRAME_ELEMENTS_MAX)], [numbered(n) for n in range(ITEMS_MAX + 1)]
    for id_ in acks:
        answers.ack(id_)
    for id_ in nacks:
        answers.nack(id_, Reject(Code.BUSY))
    frames = list(answers.frames())
    assert [decode_frame(encode_frame(frame)) for frame in frames] == frames
    assert [id_ for frame in frames if isinstance(frame, Ack) for id_ in frame.ids] == acks
    assert [id_ for frame in frames if isinstance(frame, Nack) for id_, _, _ in frame.refusals] == nacks
