"""Growth as a picture."""

from xml.etree import ElementTree

from scripts.comparison.figures import RATE, Figure, NotRun, Row
from scripts.comparison.plot import lines_of, plot


def row(name, us, of="growth"):
    return Row(of, Figure(name, "us/message", "less"), us, None, None, (us, us), {}, ())


ROWS = [
    row("hops 1", 100.0), row("hops 8", 900.0), row("routes 10", 50.0), row("routes 10000", 70.0),
    row("records", 5.0, "stream"), NotRun("idle", "nats is not installed"),
]


def test_a_line_for_each_kind_and_nothing_of_other_rows():
    assert lines_of(ROWS) == {"hops": [(1, 100.0), (8, 900.0)], "routes": [(10, 50.0), (10_000, 70.0)]}


def test_what_is_drawn_is_in_the_frame_and_what_costs_more_is_higher():
    root = ElementTree.fromstring(plot(ROWS))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    hops, routes = (
        [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        for line in root.iter("{http://www.w3.org/2000/svg}polyline")
    )
    assert all(0 < x < width and 0 < y < height for x, y in hops + routes)
    assert hops[1][0] > hops[0][0] and hops[1][1] < hops[0][1]
    assert abs(routes[1][1] - routes[0][1]) < abs(hops[1][1] - hops[0][1])


def test_nothing_is_an_empty_frame():
    assert not list(ElementTree.fromstring(plot([])).iter("{http://www.w3.org/2000/svg}polyline"))
    assert RATE.unit not in plot([])
