"""Attacks on a running tree, and what the honest notice of them. `scripts/attack` runs them one after the other.

    verdicts    what was measured in a row, the bounds that it is held against, table and JSON; pure
    rows        one row: a fresh tree, the honest, an attacker, and what became of them
    trees       the trees that are attacked, and what their relays' processes take
    honest      a sensor, its reader, and actions, each a process of its own
    attacker    the process of an attacker: bounded in time, frames and connections
    flood       what an attack is, and the usual one: open links and fill them with frames
    peer        one connection by hand
    frames      what is sent, whoever sends it
    interruption     a Ctrl-C ends a run, and leaves nothing behind
    strangers, points, children, parents     the attacks, by what the attacker has

A new attack is one more entry in the list of its role: a `Flood` with its frames, or a class with `run`.
"""
