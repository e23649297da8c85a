"""Whether a file is one that a source reads: what a path stands for by comparison is what it stands for on a disk."""

import tempfile
from glob import glob
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relays.topology.paths import _may_be_in

names = st.sampled_from(["a", "b", "a.log", ".h"])
wild = st.sampled_from(["*", "**", "a*", "?", ".*", "[ab]"])
files = st.lists(names, min_size=1, max_size=3).map("/".join)
patterns = st.lists(names | wild, min_size=1, max_size=4).map("/".join)


@given(files, patterns)
@example("a/b/a.log", "a/**")
@example("a.log", "**")
@example("a/.h/b", "a/**")
@example(".h/a.log", "**/a.log")
@example("a/b/a.log", "**/*.log")
@example("a/b", "**/a.log")
@example(".h", ".*")
def test_a_pattern_stands_for_what_it_matches_on_a_disk(file, pattern):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        found = {str(Path(each)) for each in glob(f"{folder}/{pattern}", recursive=True)}
        assert _may_be_in(str(path), f"{folder}/{pattern}") == (str(path) in found)


@pytest.mark.parametrize(("path", "read", "is_in"), [
    ("/a/b", "/a/", True), ("/a/.b", "/a/", False), ("/a/b/c", "/a/", False), ("/a", "/a/", False),
    ("/a/../b", "/b", True), ("/a//b", "/a/./b", True), ("/a/B", "/a/b", False), ("/a/b", "/a/b/c", False),
    ("/a/*.log", "/a/x.log", True), ("/a/*.log", "/a/*.txt", False), ("/a/[x]", "/a/[x]", True), ("/a/", "/a/", True),
])
def test_folders_other_ways_to_write_a_path_and_two_patterns(path, read, is_in):
    assert _may_be_in(path, read) is is_in
