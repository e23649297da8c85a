"""Message Fabric: signed, labelled messages through a tree of relays.

`fabric.protocol` is pure, `fabric.transport` moves bytes, `fabric.edge` is what a control point imports.
"""

__version__ = "0.1.0"
