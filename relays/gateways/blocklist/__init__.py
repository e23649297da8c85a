"""The kind `blocklist` of sinks: what intel says is bad, as a text file that a firewall reads."""

from relays.gateways.blocklist.sink import SINK

__all__ = ["SINK"]
