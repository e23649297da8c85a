"""Whatever happens to a log, and whenever its reader is killed: each line once."""

import json
import os
import random

import pytest

from relays.reading import Gap, Lines, place_of
from tests.rotation import Story

SEEDS = int(os.environ.get("ROTATION_SEEDS", "60"))


def run(folder, seed, follow=True):
    """What arrived: [(number or text that is no line, ...)], gaps, and the story."""
    story = Story(folder, seed, steps=60)
    chance = random.Random(seed + 1)
    arrived, gaps, kept = [], [], None
    for _ in range(4):
        story._line()
    while True:
        lines = Lines(story.log, follow, place_of(kept), clock=story)
        life = chance.choice([3, 10, 40, 10_000])
        idle = 0
        for item in lines:
            if isinstance(item, Gap):
                gaps.append(item)
                continue
            if item.place is None and not item.data:
                idle = idle + 1 if story.is_over else 0
                if not story.left:
                    story.end()
                if idle > 80:  # longer than anybody waits for anything
                    break
                continue
            idle = 0
            if item.data.strip():
                try:
                    arrived.append(json.loads(item.data)["ts"])
                    kept = item.place.text()
                except ValueError:
                    arrived.append(item.data)
            life -= 1
            if life <= 0:
                break  # kill -9: what is not kept is not known
        else:
            life = 0
        if life > 0 or (not story.left and not follow):
            break
        for _ in range(chance.choice([0, 0, 1, 5])):  # nobody reads
            story.wait(0.3)
    story.close()
    return arrived, gaps, story


@pytest.mark.parametrize("begin", range(0, SEEDS, 15))
def test_each_line_once(on_disk, begin):
    for seed in range(begin, begin + 15):
        folder = on_disk / str(seed)
        folder.mkdir()
        arrived, gaps, story = run(folder, seed)
        assert not gaps, (seed, story.kind, gaps)
        assert sorted(map(str, arrived)) == sorted(map(str, story.lines)), (seed, story.kind, story.told)
