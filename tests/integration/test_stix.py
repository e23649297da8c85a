"""STIX from bundles over three relays into a block list and into bundles again, by real processes."""

import json
import re
import shutil

import pytest
import stix2

from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.kinds import Place
from relays.gateways.options import Options
from relays.gateways.stix.sink import SINK
from relays.gateways.stix.source import SOURCE
from tests.integration.harness import ROOT, house_in, wait_for
from tests.integration.recipes import blocks_of, shell_of
from tests.unit.gateways.stix_support import published, seen
from tests.unit.gateways.support import Outtake

EXAMPLE = ROOT / "topologies" / "examples" / "stix.toml"
BUNDLE = ROOT / "topologies" / "examples" / "bundle.json"
SHARED = ROOT.parent / "shared" / "data" / "stix"
FOLDER = "/tmp/fabric-stix"
RUNNING = {"fw-1": "sink block: running", "partner-1": "sink bundles: running", "feed-1": "source bundles: running"}


def objects_in(folder):
    """By id, the newest bundle last; without definitions of TLP."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        for each in json.loads(path.read_text())["objects"]:
            if "tlp_2_0" not in json.dumps(each):
                found[each["id"]] = each
    return found


def expected(paths, clearance, work):
    """What a reader with this clearance is to have of these files, as a sink of its own makes it."""
    settings = SOURCE.read(Options({"path": "/x", "unmarked": "green"}))
    messages = []
    for path in paths:
        whole = [{name: value for name, value in each.items() if name != "fabric"}
                 for each in SOURCE.parse_all(settings, path.read_bytes())]
        messages += [each for mapped in published(whole, settings=settings.stix) if (each := seen(mapped, clearance))]
    sink = SINK.open(SINK.read(Options({"path": f"{work}/"})), Place("x", "x", work, None))
    sink.run(Outtake(messages), None)
    return objects_in(work)


def test_the_recipe_of_the_readme_and_the_bundles_of_others(tmp_path):
    begin, put = blocks_of("Connect STIX")
    text = re.sub(r"127\.0\.0\.1:(\d+)", r"127.0.0.1:PORT-p\1", EXAMPLE.read_text())
    out = tmp_path / "out"
    with house_in(tmp_path, text.replace(FOLDER, str(out))) as house, shell_of(house, tmp_path, {
        str(EXAMPLE.relative_to(ROOT)): str(house.file), FOLDER: str(out), str(BUNDLE.relative_to(ROOT)): str(BUNDLE),
    }) as shell:
        tested = shell.run(begin).stdout
        assert "intel.ipv4.osint, high, command and control" in tested and "4 record(s)" in tested, tested
        for id_, words in RUNNING.items():
            wait_for(lambda id_=id_, words=words: words in (out / f"{id_}.out").read_text(), words, 60)
        shell.run(put.replace("sleep 5\n", ""))
        block = out / "block-ipv4.txt"
        wait_for(lambda: block.exists() and len(block.read_text().splitlines()) == 4, "the block list", 60)
        assert block.read_text() == "# TLP:AMBER ipv4: 3\n192.0.2.44\n198.51.100.7\n203.0.113.9\n"
        wait_for(lambda: len(objects_in(out / "partner")) == 1, "what a partner may see", 60)
        (only,) = objects_in(out / "partner").values()
        assert only["name"] == "C2 of the worm" and "description" not in only
        assert "worm.example" not in shell.run(put.splitlines()[-1]).stdout

        files = sorted(SHARED.glob("*.json"))
        if not files:
            pytest.skip("there are no bundles of others here")
        for path in files:
            shutil.copy(path, out / "in")
        wanted = expected([BUNDLE, *files], Label.GREEN, tmp_path / "wanted")
        wait_for(lambda: len(objects_in(out / "partner")) >= len(wanted), "all of it", 60)
        assert objects_in(out / "partner") == wanted
        for path in (out / "partner").glob("*.json"):
            stix2.parse(path.read_text())
