"""What a program that imports `fabric.edge` meets: both faces, against real relays."""

import asyncio
import subprocess
import sys
import threading

import pytest

from fabric.edge import ControlPoint, FabricError
from fabric.edge.blocking import ControlPoint as Blocking
from fabric.protocol.base.errors import Code
from tests.integration.harness import ROOT, House, wait_for


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 40))


def test_the_asyncio_face(house):
    async def story():
        async with ControlPoint(house.identity("analyst-m")) as analyst, ControlPoint(
            house.identity("sensor-m")
        ) as sensor:
            messages = analyst.subscribe("detections.async")
            await analyst.wait_ready()
            id_ = await sensor.publish("detections.async", {"a": 1, "b": 2}, labels={"a": "amber"}, label="green",
                                       severity="high", phase="delivery", ttl="1m")
            message = await anext(messages)
            assert message.id == id_ and message.content == {"a": 1, "b": 2} and message.path == ("mid",)
            held = await asyncio.gather(*[sensor.publish("detections.async", {"n": n}) for n in range(300)])
            got = [(await anext(messages)).content["n"] for _ in range(300)]
            assert sorted(got) == list(range(300)) and len(set(held)) == 300

    run(story())


def test_async_handlers_and_requests(house):
    async def story():
        async with ControlPoint(house.identity("fw-m")) as wall, ControlPoint(house.identity("soar-hq")) as soar:
            @wall.on_action("deny", "ipv4_net")
            async def deny(action):
                await asyncio.sleep(0)
                if action.target.value == "192.0.2.99":
                    raise RuntimeError("secret-word")
                return {"blocked": action.target.value}

            await wall.wait_ready()
            for target, end in (("192.0.2.98", "completed"), ("192.0.2.99", "failed")):
                while True:
                    try:
                        request = soar.request("deny", f"ipv4_net={target}", to="id=fw-m", label="green")
                        outcomes = [outcome async for outcome in request]
                        break
                    except FabricError as error:
                        assert error.code is Code.NOBODY  # its route is still climbing
                assert [(str(o.end), o.target) for o in outcomes] == [(end, "fw-m")]

    run(story())
    house.assert_logs_clean("secret-word", "192.0.2.98")


def test_a_handler_that_raises_silences_nothing_that_follows(house, capfd):
    got, event = [], threading.Event()

    def take(message):
        got.append(message.content["n"])
        if message.content["n"] == 1:
            raise ValueError("secret-word")
        if message.content["n"] == 3:
            event.set()

    with house.point("analyst-m") as analyst, house.point("sensor-m") as sensor:
        analyst.on_message("detections.raise", take)
        for n in range(4):
            sensor.publish("detections.raise", {"n": n})
        assert event.wait(20)
    assert got == [0, 1, 2, 3]
    said = capfd.readouterr().err
    assert "on_message raised" in said and "ValueError" in said and "secret-word" not in said


def test_what_was_not_handled_comes_again_to_the_next_session_of_the_connection(house):
    """The subscriber's link breaks while a batch is half read: nothing is lost, nothing comes twice."""
    with house.point("analyst-m") as analyst, house.point("sensor-m") as sensor:
        messages = analyst.subscribe("detections.again", timeout_s=40)
        for n in range(200):
            sensor.publish_later("detections.again", {"n": n})
        got = [next(messages).content["n"] for _ in range(50)]
        house.wait_restarted("mid", house.kill_relay("mid"))
        got += [next(messages).content["n"] for _ in range(150)]
    assert sorted(got) == list(range(200))


def test_wait_ready_does_not_lie_after_a_lost_link(house):
    with house.point("fw-m") as wall:
        wall.on_action("deny", "ipv4_net")(lambda action: None)
        wall.wait_ready()
        pid = house.kill_relay("mid")
        wait_for(lambda: not wall._loop.status.connected.is_set(), "the link is lost")
        assert not wall._loop.status.attached.is_set()
        house.wait_restarted("mid", pid)
        wall.wait_ready()


def test_publishing_goes_on_by_itself_when_the_relay_comes_back(house):
    with house.point("sensor-m") as sensor:
        pid = house.kill_relay("mid")
        future = sensor.publish_later("detections.back", {"n": 1})
        house.wait_restarted("mid", pid)
        assert future.result(timeout=30)


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda p: p.publish("secrets.x", {}), Code.PUBLISH_DENIED),
        (lambda p: p.publish("detections.x", {}, severity="fatal"), Code.SEVERITY_DENIED),
        (lambda p: p.publish("detections.x", {}, label="red"), Code.CLEARANCE_DENIED),
        (lambda p: p.publish("a..b", {}), Code.BAD_TOPIC),
        (lambda p: p.publish("detections.x", {"a": object()}), Code.BAD_INPUT),
        (lambda p: p.publish("detections.x", {"a": "x" * 3_000_000}), Code.TOO_LARGE),
        (lambda p: next(iter(p.subscribe("secrets.>", timeout_s=10))), Code.SUBSCRIBE_DENIED),
        (lambda p: p.on_action("deny", "ipv4_net")(print), Code.EXECUTE_DENIED),
        (lambda p: list(p.request("deny", "ipv4_net=192.0.2.1", to="all")), Code.REQUEST_DENIED),
        (lambda p: list(p.request("deny", "nonsense", to="all")), Code.BAD_ACTION),
        (lambda p: list(p.request("deny", "ipv4_net=192.0.2.1", to="((")), Code.BAD_SELECTOR),
    ],
)
def test_what_a_caller_may_not_do_raises_its_code(house, act, code):
    with house.point("sensor-m") as sensor:
        with pytest.raises(FabricError) as caught:
            act(sensor)
        assert caught.value.code is code and caught.value.next_step
        assert sensor.publish("detections.fine", {"a": 1})


def test_nothing_can_be_published_after_the_end(house):
    point = house.point("sensor-m")
    with point:
        pass
    with pytest.raises(FabricError) as caught:
        point.publish("detections.x", {})
    assert caught.value.code is Code.CLOSED


def test_a_program_that_imports_it_hears_nothing_unless_it_asks(house: House):
    code = (
        "import sys\nfrom pathlib import Path\nfrom fabric.edge.blocking import ControlPoint\n"
        f"with ControlPoint(Path({str(house.folder / 'ids' / 'sensor-m')!r})) as p:\n"
        "    p.publish('detections.quiet', {'a': 1})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_many_sessions_of_one_identity_each_get_everything(house):
    with house.point("analyst-m") as one, house.point("analyst-m") as two, house.point("sensor-m") as sensor:
        first, second = (point.subscribe("detections.both", timeout_s=30) for point in (one, two))
        for n in range(5):
            sensor.publish("detections.both", {"n": n})
        for messages in (first, second):
            assert sorted(next(messages).content["n"] for _ in range(5)) == list(range(5))
    assert isinstance(one, Blocking)
