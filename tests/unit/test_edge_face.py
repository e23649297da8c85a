"""What both faces name as options is what is taken, and both have the same calls."""

import inspect

import pytest

from fabric.edge import ControlPoint as Async
from fabric.edge.blocking import ControlPoint as Blocking
from fabric.edge.face import Face, Options
from fabric.edge.publishing.options import ActionOptions, PublishOptions, action_stamp, publish_stamp


def keywords_of(function):
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


@pytest.mark.parametrize(
    "options, function", [(Options, Face.__init__), (PublishOptions, publish_stamp), (ActionOptions, action_stamp)]
)
def test_the_options_that_are_named_are_those_that_are_taken(options, function):
    assert set(options.__annotations__) == keywords_of(function)


def test_the_faces_have_the_same_calls():
    """But for what does not wait: in asyncio that is a task."""
    calls = [{name for name in dir(face) if not name.startswith("_")} for face in (Async, Blocking)]
    assert calls[1] - calls[0] == {
        "publish_later", "publish_many_later", "publish_each_later", "relabel_later",
    } and calls[0] <= calls[1]


@pytest.mark.parametrize("call", ["publish", "publish_many", "request"])
def test_their_own_options_are_the_same(call):
    assert keywords_of(getattr(Async, call)) == keywords_of(getattr(Blocking, call))


@pytest.mark.parametrize("face", [Async, Blocking])
def test_every_call_says_what_it_does(face):
    public = [getattr(face, name) for name in dir(face) if not name.startswith("_")]
    assert [each for each in public if not inspect.getdoc(each)] == []
    assert "outbox" in inspect.getdoc(face.__init__)
