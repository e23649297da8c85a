"""The house (design, section 2): imports go one way, and the protocol is pure."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from scripts.structure_counts import PARTS, count, read, undocumented

ROOT = Path(__file__).parents[2]
# Each may import itself and what is right of it.
LAYERS = [
    "relays", "fabric.edge", "fabric.audit", "fabric.spool", "fabric.transport", "fabric.files", "fabric.documents",
    "fabric.protocol",
]
IMPURE = {
    "asyncio", "datetime", "os", "pathlib", "random", "secrets", "socket", "sqlite3", "sys", "threading", "time",
    "uuid", "zmq",
}
# The rooms of a part, each a folder or a module: one may use itself and those before it. fabric/ARCHITECTURE.md says
# what is in them.
ROOMS = {
    "fabric.protocol": [
        "base", "vocabulary", "wire", "trust", "audit", "envelope", "access", "core", "custody", "routes", "links",
        "enrolment", "relay", "point",
    ],
    "fabric.protocol.relay": [
        "below", "port", "router", "report_signer", "actions", "messages", "relay",
    ],
    "fabric.edge": [
        "locks", "arguments", "logging", "control", "artifacts", "highest", "messages", "identity", "discovery",
        "connection", "publishing", "requesting", "fetching", "approving", "receiving", "handling", "effects", "ledger",
        "acting", "loop", "collecting", "leaving", "until", "face", "point", "blocking",
    ],
    "relays": [
        "wall", "wording", "streams", "folding", "terminal", "logs", "last_words", "label_watch", "responses",
        "reading", "auditing", "handlers", "gateways", "topology", "process", "run", "starting", "fork_server",
        "supervisor", "bundle", "authority", "issuing", "explaining", "benching", "cli", "demo",
    ],
    "relays.cli": [
        "shared", "messages", "tree", "members", "actions", "looking", "edge", "help_texts", "app",
    ],
    "relays.gateways": [
        "secret", "options", "addresses", "narrowing", "mapping", "deadletter", "kinds", "registry", "declared",
        "trial", "board", "rejecting", "taking", "feed", "intake", "outtake", "forgetting", "running", "tally", "room",
        "needs",
        "handing", "looking", "files", "jsonlines", "syslog", "http", "webhook", "nats", "kafka", "stix", "blocklist",
        "pulling", "poll", "taxii", "misp",
    ],
}


def files_of(folder):
    return sorted(folder.rglob("*.py"))


FILES = files_of(ROOT / "fabric") + files_of(ROOT / "relays")
PROTOCOL = files_of(ROOT / "fabric" / "protocol")


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path):
    return ast.parse(path.read_text(), str(path))


@pytest.mark.parametrize("part", PARTS)
def test_no_rooms_of_a_part_reach_each_other(part):
    assert count(part, read(ROOT, part)).circles == 0


@cache
def nodes_of(path):
    """All of them, found once for all guards."""
    return list(ast.walk(tree_of(path)))


@cache
def imports_of(path):
    """Every module that is imported anywhere in the file, also inside functions: (line, dotted name)."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    found = []
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(filter(None, [*package.split(".")[: len(package.split(".")) - node.level + 1], base]))
            found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
    return found


def layer_of(module):
    for number, layer in enumerate(LAYERS):
        if module == layer or module.startswith(layer + "."):
            return number
    return None


def test_all_layers_are_there():
    assert {layer_of(name_of(path)) for path in FILES} >= set(range(len(LAYERS)))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_one_way(path):
    own = layer_of(name_of(path))
    for line, module in imports_of(path):
        imported = layer_of(module)
        if own is not None and imported is not None:
            assert imported >= own, f"{path}:{line}: {LAYERS[own]} imports {module}"
        assert module.partition(".")[0] != "tests", f"{path}:{line}: {module}"


def room_of(module, part):
    """None for the part itself, for what begins it as a program, and for what is in none."""
    room = module.removeprefix(part + ".").split(".")[0] if module.startswith(part + ".") else None
    return None if room == "__main__" else room


def files_of_part(part):
    return files_of(ROOT.joinpath(*part.split(".")))


def against_the_order(path, part):
    """(line, module) of what a room imports of those after it."""
    order = ROOMS[part]
    own = room_of(name_of(path), part)
    for line, module in imports_of(path):
        used = room_of(module, part)
        # Also what the part itself shows, as in `from fabric.edge import ControlPoint`, which is for its users.
        if own is not None and (
            module == part or used is not None and used not in order[: order.index(own) + 1]
        ):
            yield line, module


@pytest.mark.parametrize(
    ("part", "path"), [(part, path) for part in ROOMS for path in files_of_part(part)],
    ids=lambda value: value if isinstance(value, str) else name_of(value),
)
def test_a_room_uses_only_those_before_it(part, path):
    assert not list(against_the_order(path, part)), path


@pytest.mark.parametrize("part", ROOMS)
def test_every_module_of_a_part_is_in_a_room_and_every_room_is_there(part):
    names = {name_of(path) for path in files_of_part(part)}
    assert {room_of(name, part) for name in names} - {None} == set(ROOMS[part])


def test_the_guard_of_rooms_finds_what_it_is_there_for(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    planted = tmp_path / "fabric" / "edge" / "publishing" / "deep" / "planted.py"
    planted.parent.mkdir(parents=True)
    planted.write_text(
        "from fabric.edge.messages import Message\nfrom fabric.edge.publishing.options import to_label\n"
        "from fabric.edge.receiving.batch import Batch\nimport fabric.edge.loop\n"
        "from fabric.edge import ControlPoint\nimport fabric.edge\n"
        "def late():\n    from fabric.edge.blocking import ControlPoint\n"
    )
    assert [line for line, _ in against_the_order(planted, "fabric.edge")] == [3, 4, 5, 6, 8]


def impurities(path):
    """(line, what) by which a module would reach a clock, a socket, a file, a thread or randomness."""
    for line, module in imports_of(path):
        if module.partition(".")[0] in IMPURE:
            yield line, module
    for node in nodes_of(path):
        called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        if called in ("open", "input", "__import__", "exec", "eval"):
            yield node.lineno, called


@pytest.mark.parametrize("path", PROTOCOL, ids=name_of)
def test_the_protocol_has_no_clock_socket_file_thread_or_randomness(path):
    assert not list(impurities(path)), path


def test_the_guard_of_purity_looks_at_every_depth(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    deep = tmp_path / "fabric" / "protocol" / "relay" / "dispatch" / "planted.py"
    deep.parent.mkdir(parents=True)
    deep.write_text("import time\nfrom os import path\nopen('x')\nimport json\n")
    assert [line for path in files_of(tmp_path) for line, _ in impurities(path)] == [1, 2, 3]


def is_a_set(node):
    if isinstance(node, ast.BinOp):
        return is_a_set(node.left) or is_a_set(node.right)
    named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("set", "frozenset")
    return named or isinstance(node, ast.Set | ast.SetComp)


@pytest.mark.parametrize("path", PROTOCOL, ids=name_of)
def test_the_protocol_never_iterates_a_set(path):
    for node in nodes_of(path):
        if isinstance(node, ast.For | ast.comprehension):
            assert not is_a_set(node.iter), f"{path}:{node.iter.lineno}: the order of a set is not explicit"


@pytest.mark.parametrize("part", ["fabric", "relays"])
def test_modules_and_public_names_have_docstrings(part):
    found = {name_of(path): list(undocumented(tree_of(path))) for path in files_of(ROOT / part)}
    assert {name: without for name, without in found.items() if without} == {}


def test_the_guard_of_docstrings_finds_what_it_is_there_for(tmp_path):
    planted = tmp_path / "planted.py"
    planted.write_text("class Known:\n    pass\n\ndef ask():\n    'Said.'\n\nasync def answer():\n    ...\n\n_X = 1\n"
                       "def _hidden():\n    ...\n")
    assert list(undocumented(tree_of(planted))) == ["the module", "Known", "answer"]


# Everything that people read passes through one module: what came from outside must reach no terminal as it is.
LIBRARIES = ("rich", "click", "colorama", "curses")
WRITERS = ("print", "pprint", "echo", "secho", "print_exc", "print_exception", "Console")
STREAMS = re.compile(r"(sys\.(std|__std)(out|err)(__)?(\.buffer)?\.write(lines)?|os\.write|input|getpass\.getpass)")


STREAM_WRITERS = ("write", "writelines", "input", "getpass")


def last_name_of(function):
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def ways_to_a_terminal(path):
    """(line, what) of everything that could write to a terminal by another way than `relays.terminal`."""
    for line, module in imports_of(path):
        if module.partition(".")[0] in LIBRARIES:
            yield line, module
    for node in nodes_of(path):
        if isinstance(node, ast.Call) and last_name_of(node.func) in (*WRITERS, *STREAM_WRITERS):
            called = ast.unparse(node.func)
            # A stream may be given words of this program; nothing that was put together.
            put_together = not all(isinstance(arg, ast.Constant) or is_own_name(arg) for arg in node.args)
            if called.rpartition(".")[2] in WRITERS or (STREAMS.fullmatch(called) and put_together):
                yield node.lineno, called


def is_own_name(node):
    """A text that has nothing in it but this module's constants."""
    return isinstance(node, ast.JoinedStr) and all(
        isinstance(part, ast.Constant) or (isinstance(part.value, ast.Name) and part.value.id.isupper())
        for part in node.values
    )


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_one_module_writes_to_a_terminal(path):
    if name_of(path) != "relays.terminal":
        assert not list(ways_to_a_terminal(path)), path


def test_the_guard_of_terminals_finds_what_it_is_there_for(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    planted = tmp_path / "planted.py"
    planted.write_text("import rich\nfrom rich.console import Console\nprint(x)\ntyper.echo(x)\nsys.stderr.write(x)\n"
                       "sys.stderr.write('ours')\nc.print(x)\ntraceback.print_exc()\nos.write(1, x)\n"
                       "sys.stdout.write(f'{MAX} of {x}')\ngetpass.getpass(f'{MAX}: ')\n")
    assert sorted(line for line, _ in ways_to_a_terminal(planted)) == [1, 2, 3, 4, 5, 7, 8, 9, 10]


ARCHITECTURE = (ROOT / "fabric" / "ARCHITECTURE.md").read_text()


def section_of(heading):
    return ARCHITECTURE.split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0]


def first_cells(heading):
    return [line.split("`")[1] for line in section_of(heading).splitlines() if line.startswith("| `")]


def test_the_document_names_the_layers_and_rooms_in_their_order():
    assert first_cells("Layers") == LAYERS
    assert first_cells("Rooms of the protocol") == ROOMS["fabric.protocol"]
    assert first_cells("Rooms of the relay") == ROOMS["fabric.protocol.relay"]
    assert first_cells("Rooms of the edge") == ROOMS["fabric.edge"]
    assert first_cells("Rooms around a relay") == ROOMS["relays"]
    assert first_cells("Rooms of the command line") == ROOMS["relays.cli"]
    assert first_cells("Rooms of the gateways") == ROOMS["relays.gateways"]


# Which module creates the components that a table of the document names.
MAKERS = {
    "Components of a node": ROOT / "fabric" / "protocol" / "links" / "node.py",
    "Components of a relay": ROOT / "fabric" / "protocol" / "relay" / "relay.py",
}


def made_by(path):
    """(attribute, class) of everything that this module creates and keeps in an attribute of its own."""
    for node in nodes_of(path):
        match node:
            case ast.Assign(
                targets=[ast.Attribute(value=ast.Name("self"), attr=name)], value=ast.Call(func=ast.Name(class_))
            ):
                yield name, class_


@pytest.mark.parametrize(("heading", "maker"), MAKERS.items(), ids=MAKERS)
def test_the_node_makes_exactly_the_components_that_the_document_names(heading, maker):
    """But for what it hands to them."""
    made = {class_ for _, class_ in made_by(maker)}
    components = first_cells(heading)
    assert made - {"RootCache", "LinkPort", "Counters"} == {name.rpartition(".")[2] for name in components}
    for component in components:
        module, _, name = component.rpartition(".")
        found = tree_of(ROOT.joinpath(*module.split(".")).with_suffix(".py")).body
        (class_,) = [node for node in found if isinstance(node, ast.ClassDef) and node.name == name]
        assert not class_.bases and name in made, component


def components():
    """The attributes of a node under which its components are."""
    names = {component.rpartition(".")[2] for heading in MAKERS for component in first_cells(heading)}
    return {name.lstrip("_") for maker in MAKERS.values() for name, class_ in made_by(maker) if class_ in names}


def reaches_into(path, names):
    """(line, what) that a module writes of what such an attribute holds, or uses although it is private there."""
    for node in nodes_of(path):
        if not isinstance(node, ast.Attribute | ast.Subscript):
            continue
        private = isinstance(node, ast.Attribute) and node.attr.startswith("_")
        if not private and isinstance(node.ctx, ast.Load):
            continue
        owner = node.value
        while isinstance(owner, ast.Subscript) or (isinstance(owner, ast.Attribute) and not is_one_of(owner, names)):
            owner = owner.value
        if is_one_of(owner, names):
            yield node.lineno, ast.unparse(node)


def is_one_of(node, names):
    return isinstance(node, ast.Attribute) and node.attr.lstrip("_") in names


COMPONENTS = components()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_a_component_writes_what_it_owns(path):
    assert not list(reaches_into(path, COMPONENTS)), path


def test_the_guard_of_components_finds_what_it_is_there_for(tmp_path):
    assert {"directory", "time", "trust", "dispatch", "enrolment", "list_reach", "reporter", "rerouting"} <= COMPONENTS
    planted = tmp_path / "planted.py"
    planted.write_text("core.directory.held = 1\nself._directory.held.raw += b''\ndel a.directory.held[0]\n"
                       "x = core.directory._held\ncore.directory.all[0] = 1\n"
                       "self.directory = 1\nx = core.directory.held\ncore.directory.apply(x)\nself._x.y = 1\n")
    assert [line for line, _ in reaches_into(planted, {"directory"})] == [1, 2, 3, 4, 5]


def bases_of(files):
    """By class: the classes of these files that it derives from, its base first, then the base of that."""
    defined = {node.name: node for path in files for node in nodes_of(path) if isinstance(node, ast.ClassDef)}

    def chain(name):
        for base in defined[name].bases if name in defined else ():
            if isinstance(base, ast.Name) and base.id in defined:
                yield base.id
                yield from chain(base.id)

    return {name: list(chain(name)) for name in defined}


def test_no_class_of_the_protocol_is_sliced_into_a_chain_of_bases():
    """A relay and a control point derive from what both are, and that from nothing."""
    chains = bases_of((ROOT / "fabric" / "protocol").rglob("*.py"))
    assert chains["Relay"] == ["Node"] and chains["Point"] == ["Node"]
    assert [name for name, bases in chains.items() if len(bases) > 2] == []


def test_the_guard_of_chains_finds_what_it_is_there_for(tmp_path):
    planted = tmp_path / "planted.py"
    planted.write_text("class A: pass\nclass B(A): pass\nclass C(B): pass\nclass D(C): pass\n")
    assert [name for name, bases in bases_of([planted]).items() if len(bases) > 2] == ["D"]


@pytest.mark.parametrize("heading", ["An event", "An action"])
def test_the_walks_of_the_document_lead_through_functions_that_exist(heading):
    steps = re.findall(r"^\d+\. `([\w.]+)`", section_of(heading), re.M)
    assert len(steps) >= 10
    for step in steps:
        module, _, name = step.rpartition(".")
        found = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        if not found.exists():
            module, _, owner = module.rpartition(".")
            found, name = ROOT.joinpath(*module.split(".")).with_suffix(".py"), f"{owner}.{name}"
        assert found.exists(), f"{step}: no module"
        assert name in functions_of(found), f"{step}: {found} has no {name}"


def functions_of(path):
    for node in tree_of(path).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            yield from (f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef))


def test_the_loop_of_a_control_point_makes_exactly_the_components_that_the_document_names():
    """But for what it hands to one of them."""
    (loop,) = [node for node in tree_of(ROOT / "fabric" / "edge" / "loop.py").body if isinstance(node, ast.ClassDef)]
    constructor = next(node for node in loop.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    made = {
        node.value.func.id for node in constructor.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
    }
    named = {component.rpartition(".")[2] for component in first_cells("Components of a control point")}
    assert made - {"Clock", "Point", "edge_log", "Future"} == named
    for component in first_cells("Components of a control point"):
        module, _, name = component.rpartition(".")
        found = tree_of(ROOT.joinpath(*module.split(".")).with_suffix(".py")).body
        assert [node for node in found if isinstance(node, ast.ClassDef) and node.name == name], component
