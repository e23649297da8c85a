"""No two records of one topic are under way at a time, and as many as there are topics may be."""

from concurrent.futures import Future

from scripts.comparison.records import TOPICS
from scripts.comparison.singles import Singles


class Point:
    """Takes what it is given; what is under way ends when somebody waits for it."""

    def __init__(self):
        self.open, self.most, self.published = {}, 0, 0

    def publish_later(self, topic, content, **options):
        assert content["n"] == self.published and options["severity"] == "low"
        self.published += 1
        assert topic not in self.open, "it would share an envelope with that one"
        future = self.open[topic] = Slow(self, topic)
        self.most = max(self.most, len(self.open))
        return future


class Slow(Future):
    """A record that is under way."""

    def __init__(self, point, topic):
        super().__init__()
        self.point, self.topic = point, topic

    def result(self, timeout=None):
        del self.point.open[self.topic]
        return "held"


def test_no_two_records_of_a_topic_are_under_way():
    point = Point()
    singles = Singles(point, "detections.x")
    for _ in range(5 * TOPICS):
        singles.publish({"rule": "scan"}, severity="low")
    assert singles.count == point.published == 5 * TOPICS
    assert point.most == TOPICS
