"""The demo's command, on little data."""

from importlib.util import find_spec

import pytest

from steppe.demo import main
from steppe.demo._tasks import WAYS
from steppe.linear_model import MultinomialLogisticRegression
from steppe.recommend import MatrixFactorization


def test_the_demo_prints_every_row_and_draws(tmp_path, capfd):
    picture = tmp_path / "demo.png"
    assert main(["--tiny", "--picture", str(picture)]) == 0
    lines = capfd.readouterr().out.splitlines()
    ways = [way for way in WAYS if way.n_ranks == 1 or find_spec("mpi4py") is not None]
    for name in ("MultinomialLogisticRegression", "MatrixFactorization"):
        for way in ways:
            rows = [line for line in lines if line.startswith(name) and f"  {way}  " in line]
            assert len(rows) == 1, (name, way, lines)
    if find_spec("matplotlib") is not None:
        assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("estimator", [MultinomialLogisticRegression, MatrixFactorization])
def test_ranks_run_what_auto_means(estimator):
    assert {way.schedule for way in WAYS if way.n_ranks > 1} == {estimator._auto_schedule}
