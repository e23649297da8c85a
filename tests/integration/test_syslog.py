"""Syslog senders as they are on a machine, a control point that listens to them, and who reads what they say."""

import json
import re
import shutil
import subprocess

import pytest

from tests.integration.harness import ROOT, house_in, wait_for
from tests.integration.recipes import blocks_of, shell_of

EXAMPLE = ROOT / "topologies" / "examples" / "syslog.toml"
FOLDER = "/tmp/fabric-syslog"


def topology():
    return re.sub(r"127\.0\.0\.1:(\d+)", r"127.0.0.1:PORT-p\1", EXAMPLE.read_text())


def port_of(house):
    return re.search(r"tcp://127\.0\.0\.1:(\d+)", house.file.read_text())[1]


def contents(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if "content" in line]


def test_the_recipe_of_the_readme_works_as_it_stands(tmp_path):
    begin, send = blocks_of("Connect your syslog senders")
    with house_in(tmp_path, topology()) as house, shell_of(house, tmp_path, {
        str(EXAMPLE.relative_to(ROOT)): str(house.file), FOLDER: str(tmp_path / "out"), "5514": port_of(house),
    }) as shell:
        listens = re.sub(r"udp://127\.0\.0\.1:\d+", f"udp://127.0.0.1:{port_of(house)}", house.file.read_text())
        house.file.write_text(listens)
        shell.run(begin)
        out = tmp_path / "out"
        wait_for(lambda: "source senders: running" in (out / "log.out").read_text(), "it listens", 60)
        wait_for(lambda: '"subscribed"' in (out / "seen.jsonl").read_text(), "somebody reads", 60)
        assert re.search(r"senders +syslog +running", shell.run(send).stdout)
        wait_for(lambda: len(contents(out / "seen.jsonl")) == 3, "three messages", 60)
        failed, cef, counted = contents(out / "seen.jsonl")
        assert failed["content"]["message"] == "failed password for root" and failed["severity"] == "high"
        assert failed["labels"]["host"] == "amber" and failed["labels"]["message"] == "green"
        assert cef["content"]["cef"]["extension"]["src"] == "198.51.100.7" and cef["severity"] == "critical"
        assert counted["content"]["message"] == "two\nlines" and counted["content"]["transport"] == "tcp"


@pytest.mark.skipif(not shutil.which("rsyslogd"), reason="rsyslog is not installed")
def test_rsyslog_forwards_to_it(tmp_path):
    with house_in(tmp_path, topology()) as house:
        house.up()
        reader = house.start("subscribe", "detections.>", "--as", "reader-1", "--json")
        reader.wait_line('"subscribed"')
        point = house.start("edge", "run", "--as", "log-1", "--json")
        point.wait_line('"source": "senders", "state": "running"')
        settings = tmp_path / "rsyslog.conf"
        settings.write_text(
            f'global(workDirectory="{tmp_path}")\nmodule(load="imuxsock" SysSock.Use="off")\n'
            f'input(type="imuxsock" Socket="{tmp_path}/log")\n*.* action(type="omfwd" Target="127.0.0.1" '
            f'Port="{port_of(house)}" Protocol="tcp" TCP_Framing="octet-counted" '
            'Template="RSYSLOG_SyslogProtocol23Format")\n'
        )
        daemon = subprocess.Popen(["rsyslogd", "-n", "-f", str(settings), "-i", str(tmp_path / "pid")])
        try:
            wait_for(lambda: (tmp_path / "log").exists(), "rsyslog listens")
            subprocess.run(["logger", "-u", str(tmp_path / "log"), "-p", "auth.crit", "-t", "su", "failed"], check=True)
            content = json.loads(reader.wait_line('"failed"'))["content"]
            assert (content["format"], content["facility"], content["app"]) == ("rfc5424", "auth", "su")
        finally:
            daemon.terminate()
            daemon.wait()
