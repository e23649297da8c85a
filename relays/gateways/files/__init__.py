"""The kind `file`: a log, or many, followed over rotations."""

from relays.gateways.files.source import SOURCE

__all__ = ["SOURCE"]
