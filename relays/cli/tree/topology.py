"""`fabric topology`: is a topology file right, and what does it look like."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from relays.authority import check_strays
from relays.cli.shared.exits import FAILED, command, problem_json
from relays.cli.tree.flows import flows
from relays.issuing.members import check_members, members_here
from relays.terminal import say, say_json, say_whole
from relays.topology import graph as pictures
from relays.topology import lint as linting
from relays.topology import loader

app = typer.Typer(no_args_is_help=True, help="Check and draw topology files.\n\nExample: fabric topology lint topologies/minimal.toml")
app.command()(flows)
File = Annotated[Path, typer.Argument(help="The topology file.", exists=True, dir_okay=False, readable=True)]


@app.command()
@command
def lint(
    file: File,
    as_json: Annotated[bool, typer.Option("--json", help="One object a line.")] = False,
) -> None:
    """Every error and warning at once, each with its key and what to write instead. Members that joined through an
    issuer on this machine are looked at too.

    Exit codes: 0 no errors (there may be warnings), 1 errors.

    Example: fabric topology lint topologies/enterprise.toml
    """
    problems = linting.lint(file)
    if not any(p.severity == "error" for p in problems):
        topology = loader.load(file)
        problems += check_members(topology, members_here(topology.fabric))
        problems += check_strays(topology)
    errors = [p for p in problems if p.severity == "error"]
    for problem in problems:
        if as_json:
            say_json(problem_json(problem))
        else:
            say(*([""] if sys.stdout.isatty() and problem is not problems[0] else []), str(problem))
    if not as_json:
        warnings = len(problems) - len(errors)
        say(f"{file}: {len(errors)} error{'' if len(errors) == 1 else 's'}, {warnings} warning{'' if warnings == 1 else 's'}")
    if errors:
        raise typer.Exit(FAILED)


@app.command()
@command
def graph(
    file: File,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="As a Mermaid flowchart.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Relays and points as one object.")] = False,
) -> None:
    """The tree with its segments, clearances and addresses.

    Exit codes: 0 drawn, 1 errors in the file.

    Example: fabric topology graph topologies/minimal.toml
    """
    topology = loader.load(file)
    if as_json:
        say_json({
            "fabric": topology.fabric,
            "relays": [
                {"id": r.id, "parent": r.parent, "backups": r.backups, "segment": r.segment,
                 "clearance": r.clearance.short, "listen": r.listen, "dial": r.dial}
                for r in topology.relays.values()
            ],
            "points": [
                {"id": p.id, "relay": p.relay, "backups": p.backups, "role": p.role, "clearance": p.clearance.short}
                for p in topology.points.values()
            ],
        })
        return
    if mermaid:  # is copied into a document: a line break within a name would be part of the name
        say_whole(*pictures.mermaid(topology).removesuffix("\n").split("\n"))
    else:
        say(*pictures.draw(topology).removesuffix("\n").split("\n"))
