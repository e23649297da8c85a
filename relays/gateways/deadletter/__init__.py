"""Dead letters: what a source or sink rejected, on the disk of its identity, until somebody replays or drops it."""

from relays.gateways.deadletter.keeping import DeadLetters
from relays.gateways.deadletter.letter import Form, Letter
from relays.gateways.deadletter.store import FOLDER, LETTERS_BYTES_MAX, LETTERS_MAX, Store, stores_of

__all__ = ["FOLDER", "LETTERS_BYTES_MAX", "LETTERS_MAX", "DeadLetters", "Form", "Letter", "Store", "stores_of"]
