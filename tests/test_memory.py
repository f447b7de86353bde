"""Freed memory stays for the next step, and goes back in the end."""

import os
import subprocess
import sys

import pytest

STEPS = """
import resource
import torch
from variate.training import memory

def step():
    return [torch.ones(1_200_000) for _ in range(20)]  # 96 MB: no more than a batch's activations

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

with memory.kept():
    step()
    step()
    before = faults()
    for _ in range(10):
        step()
    inside = faults() - before
print(inside)
print(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1])
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="pages are counted as Linux does")
def test_a_step_s_memory_is_there_at_the_next():
    """Ten steps of 23,000 pages each need hardly any page that the two before did not; then they are the system's."""
    said = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    faults, resident_kib = map(int, said.stdout.split())
    assert faults < 2_000
    assert resident_kib < 200_000
