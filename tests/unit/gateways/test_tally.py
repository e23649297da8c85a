"""What a sink counts: all of it in its state, and in the log as often as it doubles."""

from relays.gateways.tally import Tally
from tests.unit.gateways.support import Outtake


def test_all_is_counted_and_seldom_said():
    tally, outtake = Tally("no STIX", "messages are no STIX"), Outtake()
    for count in (0, 1, 0, 1, 1, 1_000, 1):
        tally.add(count, outtake)
    assert outtake.counts == {"no STIX": 1_004}
    assert outtake.notes == [f"{count} messages are no STIX" for count in ("1", "2", "1,003")]
