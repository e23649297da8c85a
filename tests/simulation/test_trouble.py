"""Whole stories: some of every kind, and those that once ended wrong."""

import json
from pathlib import Path

import pytest

from tests.simulation.faults import FAULTS
from tests.simulation.simulate import command_of, faults_in
from tests.simulation.trouble import tell

SCENARIOS = json.loads((Path(__file__).parent / "scenarios.json").read_text())


@pytest.mark.parametrize("seed", range(8))
def test_after_any_trouble_everything_has_come_to_its_end(seed):
    """Half a minute of trouble each: `scripts/simulate` tells as many whole ones as somebody has time for."""
    assert tell(seed, minutes=0.5).wrong == []


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: str(scenario["seed"]))
def test_what_once_went_wrong_does_not_again(scenario):
    told = tell(scenario["seed"], scenario["relays"], scenario.get("minutes", 1.0), scenario.get("faults", FAULTS))
    assert told.wrong == [], scenario["was"]


def test_a_story_repeats_itself_and_says_how_to_be_told_again():
    once, again = tell(3, 8, 0.2), tell(3, 8, 0.2)
    assert once == again and once.counts["frames"] > 500
    assert command_of(7, 15, 0.5, ("loss", "crash")).endswith("--seed 7 --relays 15 --minutes 0.5 --faults loss,crash")
    assert faults_in("crash,loss") == ("loss", "crash") and faults_in("all") == FAULTS
