"""What the README shows works."""

import re
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_the_readme_begins_with_the_two_commands():
    first = re.search(r"```sh\n(.*?)```", README.read_text(), flags=re.DOTALL).group(1)
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make demo", "make test"]


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_python_blocks_run(number):
    names = {"my_rows": np.eye(6)}
    if "Cluster.world" in BLOCKS[number]:
        pytest.importorskip("mpi4py")
        exec(BLOCKS[0], names)  # the cluster's block takes the estimator from the first one
    exec(BLOCKS[number], names)
