"""What a process has in memory."""

import subprocess
import sys

from scripts.comparison.resident import peak_kb, resident_kb


def test_the_peak_is_what_was_had_and_given_back():
    code = (
        "import mmap\nfrom scripts.comparison.resident import peak_kb, resident_kb\nbefore = resident_kb('self')\n"
        "much = mmap.mmap(-1, 64 << 20)\nmuch[:] = bytes(64 << 20)\nmuch.close()\n"
        "print(before, resident_kb('self'), peak_kb('self'))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    before, after, peak = map(int, said.split())
    assert peak >= before + 60_000
    assert after < peak


def test_a_process_has_something_in_memory():
    assert 1_000 < resident_kb("self") <= peak_kb("self")
