"""Several organisations in one tree, as `topologies/partners.toml` has them: everybody has what Traffic Light Protocol
gives them, and nobody has more. Real processes."""

import json
import re
from contextlib import ExitStack, contextmanager

import pytest

from fabric.protocol.base.errors import Code, FabricError
from tests.integration.harness import ROOT, House, house_in, wait_for

TOPOLOGY = re.sub(
    r'listen = "127\.0\.0\.1:\d+"', lambda found: f'listen = "127.0.0.1:PORT-{found[0][-5:-1]}"',
    (ROOT / "topologies" / "partners.toml").read_text(),
)
ANALYSTS = ("acme", "guard", "mill", "dairy", "barn", "bank")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with house_in(tmp_path_factory.mktemp("partners"), TOPOLOGY) as house:
        house.up()
        house.wait_whole()
        yield house


@contextmanager
def reading(house: House, pattern: str):
    """Everybody's analyst reads: what came, by whose it is."""
    came: dict[str, list] = {name: [] for name in ANALYSTS}
    with ExitStack() as open_:
        for name in ANALYSTS:
            open_.enter_context(house.point(f"analyst-{name}")).on_message(pattern, came[name].append)
        yield came


SENT = {
    "own": ({"label": "amber"}, {"acme"}),
    "provider": ({"label": "amber", "audience": {"organisations": ["guard"]}}, {"acme", "guard", "mill", "dairy"}),
    "strict": ({"label": "amber+strict", "audience": {"organisations": ["guard"]}}, {"acme", "guard"}),
    "community": ({"label": "green", "audience": {"communities": ["isac"]}}, {"acme", "bank"}),
    "partners": (
        {"label": "green", "audience": {"organisations": ["guard"], "communities": ["isac"]}},
        {"acme", "guard", "mill", "dairy", "bank"},
    ),
    "person": ({"label": "red", "audience": {"recipients": ["hq", "analyst-acme"]}}, {"acme"}),
    "clear": ({"label": "clear"}, set(ANALYSTS)),
}


def test_everybody_has_what_the_label_and_the_audience_give_and_nobody_knows_of_the_rest(house: House):
    with reading(house, "intel.>") as came:
        with house.point("feed-1") as feed:
            for name, (options, _) in SENT.items():
                feed.publish(f"intel.{name}", {"indicator": f"secret-{name}"}, **options)
            # Of this one everybody has the rule, and who else may have a field is said by its own label.
            feed.publish(
                "intel.fields", {"rule": "scan", "who": "secret-who", "how": "secret-how"}, label="clear",
                labels={"who": "amber", "how": "amber+strict"}, audience={"organisations": ["guard"]},
            )
        wait_for(lambda: all(any(m.topic == "intel.fields" for m in came[name]) for name in ANALYSTS), "the last one")
        for name in ANALYSTS:
            wanted = {f"intel.{topic}" for topic, (_, who) in SENT.items() if name in who}
            wait_for(lambda: wanted <= {m.topic for m in came[name]}, f"{name} to have {wanted}")  # noqa: B023 - at once
            assert {m.topic for m in came[name]} == wanted | {"intel.fields"}, name
            (last,) = [m for m in came[name] if m.topic == "intel.fields"]
            fields = {"rule": True, "who": name in SENT["provider"][1], "how": name in SENT["strict"][1]}
            assert set(last.content) == {field for field, is_there in fields.items() if is_there}, name
    house.assert_logs_clean(*(f"secret-{name}" for name in (*SENT, "who", "how")))


def test_what_a_client_detects_is_for_its_provider_and_not_for_the_provider_s_other_clients(house: House):
    with reading(house, "detections.>") as came:
        with house.point("sensor-mill") as sensor:
            sensor.publish("detections.x", {"n": 1}, label="amber+strict", audience={"organisations": ["guard"]})
            sensor.publish("detections.y", {"n": 2}, label="clear")
        wait_for(lambda: len(came["acme"]) == 1 and len(came["guard"]) == len(came["mill"]) == 2, "what was detected")
        assert [m.topic for m in came["acme"]] == ["detections.y"]


def test_a_provider_acts_at_its_clients(house: House):
    done: list[str] = []
    with house.point("fw-mill") as mill, house.point("fw-dairy") as dairy, house.point("soar-guard") as soar:
        for wall in (mill, dairy):
            wall.on_action("deny", "ipv4_net")(lambda action, at=wall.identity.id: done.append(at))
            wall.wait_ready()
        outcomes = list(soar.request("deny", "ipv4_net=203.0.113.9", to="role=firewall"))
    assert sorted(done) == ["fw-dairy", "fw-mill"]
    assert sorted(o.target for o in outcomes if o.end.value == "completed") == ["fw-dairy", "fw-mill"]


def test_what_cannot_be_is_refused_by_its_number_and_with_what_to_do(house: House):
    def refused(*args: str) -> dict:
        done = house.cli("publish", "intel.x", '{"n": 1}', "--as", "feed-1", "--json", *args)
        assert done.code in (1, 2, 5), done
        return done.error

    too_wide = refused("--label", "green", "--to-org", "bank")
    assert too_wide["code"] == "E420" and "--to-org bank" in too_wide["next"]
    assert refused("--label", "green", "--community", "fs-isac")["code"] == "E420"
    assert refused("--label", "amber", "--recipient", "analyst-acme")["code"] == "E608"
    assert refused("--label", "red", "--recipient", "Analyst")["code"] == "E608"
    assert refused("--label", "purple", "--to-org", "guard")["code"] == "E602"
    assert refused("--label", "red")["code"] == "E609"
    # Of another organisation, which is not named.
    with house.point("analyst-guard") as other:
        other.wait_ready()
        said = refused("--label", "red", "--recipient", "analyst-guard")
    assert said["code"] == "E608" and "organisation guard is not named" in said["detail"]
    assert "--to-org guard" in said["next"]


def test_who_names_nobody_is_told(house: House):
    red = ("--label", "red", "--recipient", "hq", "--recipient", "analyst-acne")
    said = house.cli("publish", "intel.x", '{"n": 1}', "--as", "feed-1", *red).expect(1)
    assert "error E605" in said.err and "analyst-acne" in said.err, "nobody gets it"


def test_who_was_revoked_is_no_recipient(house: House):
    """Last: who is revoked stays revoked."""
    house.cli("revoke", "analyst-barn", "--fabric", "partners").expect(0)
    with house.point("feed-1") as feed:
        def refusal():
            try:
                feed.publish("intel.x", {"n": 1}, label="red", audience={"recipients": ["hq", "analyst-barn"]})
            except FabricError as error:
                return error if error.code is Code.RECIPIENT_REVOKED else None  # until then nobody knows of it
            return None

        error = wait_for(refusal, "the list to be known")
    assert "analyst-barn" in error.detail


def test_what_credentials_say_of_whose_they_are_is_shown(house: House):
    shown = json.loads(house.cli("authority", "show", "partners", "--json").expect(0).out)
    said = {each["organisation"]: (each["client_of"], each["communities"]) for each in shown["organisations"]}
    assert said["acme"] == (["guard"], ["isac"]) and said["barn"] == (["mill"], []) and said["guard"] == ([], [])
    feed = house.cli("credential", "show", "partners/feed-1").expect(0).out
    assert "also for the organisations guard, also for the communities isac" in feed
