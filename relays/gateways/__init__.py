"""Gateways: what people already have, as sources and sinks of a control point (`kinds`), declared in a topology."""
