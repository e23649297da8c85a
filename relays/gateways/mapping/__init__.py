"""What a record of a source becomes, as it is declared: topic, severity, phase, time, labels, and which fields."""

from relays.gateways.mapping.mapping import KEYS, Mapped, RecordMapping, Unfit, read_mapping
from relays.gateways.mapping.said import Preset, Said

__all__ = ["KEYS", "Mapped", "Preset", "RecordMapping", "Said", "Unfit", "read_mapping"]
