"""Reading files of lines: logs over rotations, streams, compressed files; each line once, and gaps are said."""

from relays.reading.input import Input
from relays.reading.lines import Gap, Line, Lines
from relays.reading.place import Place, place_of
from relays.reading.records import parse_record, read_text

__all__ = ["Gap", "Input", "Line", "Lines", "Place", "parse_record", "place_of", "read_text"]
