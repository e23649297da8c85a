"""Effects with a duration: the edge itself ends each, cut off or killed, and no other's."""


import pytest

from fabric.edge.effects.lease_list import read_leases
from tests.integration.harness import House, wait_for

ID = "fw-m"
TO = f"id={ID}"


class Firewall:
    """What is blocked there, and how often it was told so."""

    def __init__(self):
        self.blocked, self.calls = set(), []

    def __call__(self, action):
        self.calls.append(("block", action.id))
        self.blocked.add(action.target.value)

    def revert(self, action):
        self.calls.append(("unblock", action.id))
        self.blocked.discard(action.target.value)


def ask(soar, address, **args):
    (outcome,) = soar.request(
        "deny", f"ipv4_net={address}", to=TO, args=args, ttl="20s", label="green", wait_ms=1_000
    )
    return outcome


def told(soar, id_, word):
    """The action as its requester has it in its book, when the target has said this of its effect."""

    def found():
        account = soar.action(id_)
        effect = account.effects.get(ID)
        return account if effect is not None and effect.word == word else None

    return wait_for(found, f"the requester hears {word}")


@pytest.fixture
def wall(house: House):
    walls = Firewall()
    with house.point(ID) as point:
        walls.point = point
        point.on_action("deny", "ipv4_net")(walls)
        point.wait_ready()
        yield walls


def test_an_effect_ends_when_its_duration_is_over(house, wall):
    with house.point("soar-hq") as soar:
        outcome = ask(soar, "192.0.2.1", duration=300)
        assert str(outcome.end) == "completed" and wall.blocked == {"192.0.2.1"}
        wait_for(lambda: not wall.blocked, "the effect that ends")
        assert [call for call, _ in wall.calls] == ["block", "unblock"]
        assert len({id_ for _, id_ in wall.calls}) == 1
        account = told(soar, wall.calls[0][1], "reverted")
        assert account.states[ID].word == "completed" and not account.is_open


def test_it_is_released_by_who_asked_and_only_by_who_may(house, wall):
    with house.point("soar-hq") as soar:
        ask(soar, "192.0.2.2", duration=3_600_000)
        id_ = wall.calls[-1][1]
        (entry,) = wait_for(wall.point.leases, "the list of leases")
        assert (entry.id, entry.state, entry.requester) == (id_, "in force", "soar-hq")
        (outcome,) = soar.cancel(id_, wait_ms=1_000)
        assert outcome.result == {"was": "in force", "effect": "released"} and not wall.blocked
        told(soar, id_, "released")
        wait_for(lambda: not wall.point.leases(), "nothing in force")


def test_the_last_of_two_ends_it(house, wall):
    with house.point("soar-hq") as soar:
        ask(soar, "192.0.2.3", duration=3_600_000)
        ask(soar, "192.0.2.3", duration=300)
        long, short = (id_ for call, id_ in wall.calls if call == "block")
        told(soar, short, "lasts")
        assert wall.blocked == {"192.0.2.3"}
        list(soar.cancel(long, wait_ms=1_000))
        assert not wall.blocked
        told(soar, long, "released")


def test_what_one_asked_for_without_an_end_nobody_else_ends(house, wall):
    """Both may ask for it. Who asks for a tenth of a second ended it for everybody."""
    blocked = {"192.0.2.7"}
    with house.point("soar-hq") as soar, house.point("soar-2") as other:
        ask(soar, "192.0.2.7")
        ask(other, "192.0.2.7", duration=100)
        told(other, wall.calls[-1][1], "lasts")
        assert wall.blocked == blocked
        ask(soar, "192.0.2.7", duration=100)
        told(soar, wall.calls[-2][1] if wall.calls[-1][0] == "unblock" else wall.calls[-1][1], "reverted")
        assert not wall.blocked


def test_a_revert_that_fails_is_told_and_called_again(house, wall):
    failing = [True]

    def unblock(action):
        if failing[0]:
            raise RuntimeError("no")
        wall.blocked.discard(action.target.value)

    wall.revert, wall.point._handlers._handlers[0] = unblock, wall.point._handlers._handlers[0]._replace(revert=unblock)
    with house.point("soar-hq") as soar:
        ask(soar, "192.0.2.4", duration=100)
        id_ = wall.calls[-1][1]
        assert told(soar, id_, "revert failed").effects[ID].code == "E729"
        failing[0] = False
        told(soar, id_, "reverted")
        assert not wall.blocked


def test_without_an_inverse_nothing_is_promised(house):
    with house.point(ID) as point, house.point("soar-hq") as soar:
        point.on_action("deny", "ipv4_net")(lambda action: None)
        point.wait_ready()
        outcome = ask(soar, "192.0.2.5", duration=300)
        assert (str(outcome.end), outcome.code, outcome.status) == ("refused", "E726", 501)


HANDLER = """#!/bin/sh
input=$(cat)
echo "$FABRIC_PHASE" >> "{ran}"
case "$input" in *'"phase": "'"$FABRIC_PHASE"'"'*) ;; *) exit 4 ;; esac
"""


def test_a_command_reverts_cut_off_and_after_a_restart(own_house, tmp_path):
    """`edge run --reverts`, whose relay does not answer any more when its time is over, and killed before that."""
    house, ran, script = own_house, tmp_path / "ran", tmp_path / "handler"
    script.write_text(HANDLER.format(ran=ran))
    script.chmod(0o755)
    args = ("edge", "run", "--as", "fw-m", "--on", "deny ipv4_net", "--exec", str(script), "--reverts", "--json")
    house.up()
    try:
        wall = house.start(*args)
        wall.wait_line('"ready"')
        asked = ("act", "deny", "ipv4_net=192.0.2.6", "--to", "id=fw-m", "--as", "soar-hq", "--label", "green",
                 "--json", "--arg", "duration=6s", "--key", "k")
        (line,) = house.cli(*asked).expect(0).lines
        wait_for(lambda: read_leases(house.identity(ID).folder)[0], "the list of leases")
        wall.process.kill()  # no other command before it, which on a busy machine would take as long as the lease lasts
        wall.wait()
        assert line["end"] == "completed" and ran.read_text().split() == ["execute"]
        (lease,) = house.cli("leases", "--as", "soar-hq", "--json").expect(0).lines
        assert (lease["state"], lease["at"], lease["requester"]) == ("in force", "fw-m", "soar-hq")
        here = house.cli("leases", "--as", "fw-m").expect(0).out
        assert "nothing executes as fw-m" in here and "deny ipv4_net=192.0.2.6  green " in here
    finally:
        house.down()
    wall = house.start(*args)
    try:
        wait_for(lambda: ran.read_text().split() == ["execute", "revert"], "the effect that ends without a relay")
        wall.wait_line('"revert"')
        house.up()
        wall.wait_line('"ready"')
        # What came meanwhile is for whoever has a key next.
        (line,) = house.cli(*asked[:-4], "--arg", "duration=1h", "--key", "k2").expect(0).lines

        def in_force():
            found = house.cli("leases", "--as", "fw-m", "--json").expect(0).lines
            return [lease for lease in found if lease["state"] == "in force"]

        (kept,) = wait_for(in_force, "the lease")
        assert (kept["requester"], kept["at"]) == ("soar-hq", "fw-m")

        def said():
            done = house.cli("action", lease["id"][:12], "--as", "soar-hq", "--json").expect(0)
            return done.lines[0]["effects"].get("fw-m", {}).get("effect") == "reverted"

        wait_for(said, "its requester hears of it")
        assert [each["id"] for each in house.cli("leases", "--as", "soar-hq", "--json").expect(0).lines] == [kept["id"]]
        over = house.cli("extend", lease["id"][:12], "--duration", "1h", "--as", "soar-hq", "--json").expect(1).error
        assert over["code"] == "E724" and over["next"].startswith("see which are: fabric leases --as soar-hq")
    finally:
        wall.stop()
        house.down()
    assert ran.read_text().split() == ["execute", "revert", "execute"]
