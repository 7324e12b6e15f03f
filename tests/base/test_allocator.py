"""Freed memory is kept: the next step finds its pages there."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from elasticface.base.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def fill():
    bytearray(64 << 20)
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_freed_memory_has_its_pages_when_it_is_needed_again() -> None:
    assert page_faults("kept") < 100
    if page_faults("not") < 10_000:
        pytest.skip("this C library keeps freed memory by itself")
