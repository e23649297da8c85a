"""What ended a relay is told apart from the errors of one that goes on."""

import json

from fabric.edge.identity.home import fabric_folder
from fabric.files import make_private
from relays.last_words import CANNOT_RUN, NOT_STARTED, OWN_FAULT, last_words


def test_the_last_words_are_those_of_what_ended_the_relay_and_no_alarm(tmp_path):
    log = make_private(fabric_folder("small", tmp_path) / "run") / "hq.log"
    assert last_words("small", "hq", tmp_path) is None, "no log"
    for event in (CANNOT_RUN, OWN_FAULT, NOT_STARTED):
        log.write_text(json.dumps({"event": event, "level": "error", "code": "E903"}) + "\nno JSON\n")
        assert last_words("small", "hq", tmp_path)["code"] == "E903"
    with log.open("a") as more:
        more.write(json.dumps({"event": "audit log is not what it was", "level": "error", "code": "E226"}) + "\n")
    assert last_words("small", "hq", tmp_path) is None, "an alarm of a relay that goes on"
