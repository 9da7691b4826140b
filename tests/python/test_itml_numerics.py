"""ITML in finite precision: what the working matrix, the dual variables and the gap are, in every form of the computation."""

import signal
import subprocess
import sys
import textwrap
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from steppe import _core
from steppe.metric import GMML, ITML
from steppe.metric._pairs import sample_pairs

sys.path.insert(0, str(Path(__file__).parents[1]))
from reference import gmml as gmml_reference
from reference import itml as reference

FORMS = ["dense", "span", "products"]
SOLVERS = ["exact", "parallel"]


@pytest.fixture(autouse=True)
def one_blas_thread():
    with threadpool_limits(1):
        yield


class Problem:
    """Points that are exact in float32, similar pairs first."""

    def __init__(self, points, pairs, sign, bounds):
        order = np.argsort(-np.asarray(sign), kind="stable")
        self.points = np.ascontiguousarray(points, dtype=np.float32)
        self.pairs = np.ascontiguousarray(np.asarray(pairs, dtype=np.int64)[order])
        self.sign = np.ascontiguousarray(np.asarray(sign, dtype=np.float64)[order])
        self.target = np.where(self.sign > 0, *bounds)
        ends = self.points.astype(np.float64)[self.pairs]
        self.C = ends[:, 0] - ends[:, 1]

    def session(self, form, gamma, solver="exact", dtype=np.float64):
        return _core.itml_session(
            np.ascontiguousarray(self.points, dtype=dtype),
            self.pairs,
            self.sign,
            self.target,
            link=_core.LocalLink(),
            gamma=gamma,
            in_parallel=solver == "parallel",
            form=form,
        )

    def inverse(self, dual):
        """A^-1 of these dual variables."""
        return np.eye(self.C.shape[1]) + (self.C * (self.sign * dual)[:, None]).T @ self.C

    def primal(self, A, gamma):
        """The primal objective at A and the slack that is best for it."""
        relative = np.einsum("ki,ij,kj->k", self.C, A, self.C) / self.target
        excess = np.where(self.sign > 0, np.maximum(relative, 1), np.minimum(relative, 1))
        slack = (excess - np.log(excess) - 1).sum()
        return np.trace(A) - np.linalg.slogdet(A)[1] - len(A) + gamma * slack


def hard(seed):
    """Contradictory, duplicate and nearly collinear pairs."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(6, 2, 4))
    near = base.copy()
    near[:, 0] += 1e-6 * rng.normal(size=(6, 4))
    pairs = np.concatenate([base, base, base, near, near])
    sign = np.repeat([1, 1, -1, 1, -1], 6)
    return Problem(pairs.reshape(-1, 4), np.arange(60).reshape(30, 2), sign, (1.0, 4.0))


def sampled(load, seed):
    X, y = load(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    pairs, sign = sample_pairs(y, 70, np.random.default_rng(seed))
    used, pairs = np.unique(pairs, return_inverse=True)
    pairs = pairs.reshape(-1, 2)
    squared = ((X[used][pairs[:, 0]] - X[used][pairs[:, 1]]) ** 2).sum(axis=1)
    return Problem(X[used], pairs, sign, np.percentile(squared, (5, 95)))


PROBLEMS = {
    "hard": hard,
    "breast cancer": lambda seed: sampled(load_breast_cancer, seed),
    "digits": lambda seed: sampled(load_digits, seed),
}
# Every form of every problem at every gamma, each with one of 20 seeds.
CASES = [
    pytest.param(name, form, solver, gamma, place % 20, id=f"{name}-{form}-{solver}-{gamma}")
    for place, (name, form, solver, gamma) in enumerate(product(PROBLEMS, FORMS, SOLVERS, [0.1, 1.0, 10.0, 100.0]))
]


def working_matrix(session):
    values = session.state()["matrix"]
    m = int(np.sqrt(values.size))
    return values.reshape(m, m)


def check_working_matrix(problem, session, form):
    """It is what the dual variables say, and positive definite; not made from them, but by all updates so far."""
    matrix, dual = working_matrix(session), session.state()["dual"]
    values = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    inverse = problem.inverse(dual)
    C = problem.C
    tolerance = 1e-12 * max(np.linalg.cond(inverse), 1e3)
    if form == "products":
        assert values[0] >= -1e-12 * values[-1]
        expected = C @ np.linalg.solve(inverse, C.T)
        np.testing.assert_allclose(matrix, expected, atol=tolerance * np.abs(expected).max())
        return
    assert values[0] > 0
    if form == "dense":
        np.testing.assert_allclose(matrix @ inverse, np.eye(len(matrix)), atol=tolerance)
    else:  # in some basis of the span; elsewhere A is the identity
        expected = np.linalg.eigvalsh(np.linalg.inv(inverse))
        ours = np.sort(np.append(values, np.ones(len(expected) - len(values))))
        np.testing.assert_allclose(ours, expected, rtol=tolerance, atol=tolerance * expected[-1])


@pytest.mark.parametrize("name,form,solver,gamma,seed", CASES)
def test_float32_is_float64_rounded(name, form, solver, gamma, seed):
    problem = PROBLEMS[name](seed)
    single = problem.session(form, gamma, solver, np.float32)
    double = problem.session(form, gamma, solver, np.float64)
    objective = np.inf
    for sweep in range(60):  # at 50 the matrix is made anew
        single.advance(1)
        double.advance(1)
        np.testing.assert_array_equal(single.state()["dual"], double.state()["dual"])
        if sweep in (0, 1, 2, 5, 10, 30, 48, 49, 50, 59):
            check_working_matrix(problem, double, form)
            dual = reference.dual_objective(double.state()["dual"], problem.C, problem.sign, problem.target, gamma)
            np.testing.assert_allclose(-double.objective(), dual, rtol=1e-8, atol=1e-9)
        assert double.objective() <= objective + 1e-9 * abs(objective if np.isfinite(objective) else 1)
        objective = double.objective()
    np.testing.assert_array_equal(working_matrix(single), working_matrix(double))
    ours, theirs = single.result(), double.result()
    assert theirs["shrunk"] == theirs["left_out"] == 0
    for name in ("components", "dual"):
        assert ours[name].dtype == np.float32
        np.testing.assert_array_equal(ours[name], theirs[name].astype(np.float32))
    L = theirs["components"]
    np.testing.assert_allclose(L.T @ L @ problem.inverse(theirs["dual"]), np.eye(L.shape[1]), atol=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("solver", SOLVERS)
def test_float32_of_many_sweeps(gamma, solver):
    problem = sampled(load_breast_cancer, 0)
    single, double = (problem.session("auto", gamma, solver, dtype) for dtype in (np.float32, np.float64))
    for session in (single, double):
        session.advance(300)
    np.testing.assert_array_equal(single.result()["dual"], double.result()["dual"].astype(np.float32))
    check_working_matrix(problem, single, _core.itml_form(len(problem.points), *problem.C.shape))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_defaults_on_labelled_points(dtype):
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X).astype(np.float32)
    for gamma in (0.3, 1.0, 10.0):
        with warnings.catch_warnings(action="error", category=RuntimeWarning):
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = ITML(gamma, random_state=0, max_iter=40, tol=0).fit(X.astype(dtype), y)
        wide = ITML(gamma, random_state=0, max_iter=40, tol=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            wide.fit(X.astype(np.float64), y)
        np.testing.assert_array_equal(model.components_, wide.components_.astype(dtype))
        assert (np.diff(model.history_["objective"][~np.isnan(model.history_["objective"])]) <= 0).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("gamma", [0.1, 1.0, 10.0])
def test_gap_is_primal_less_dual(form, solver, gamma):
    for make in PROBLEMS.values():
        problem = make(7)
        session = problem.session(form, gamma, solver)
        session.advance(11)
        dual = session.state()["dual"]
        result = session.result()
        primal = problem.primal(np.linalg.inv(problem.inverse(dual)), gamma)
        gap = primal - reference.dual_objective(dual, problem.C, problem.sign, problem.target, gamma)
        np.testing.assert_allclose(result["gap"][-1], gap, rtol=1e-6, atol=1e-9 * abs(primal))
        assert gap >= -1e-9 * abs(primal)


def projected_newton(problem, gamma):
    """The dual optimum to machine precision: Newton's method on the variables that are not at their bound, from L-BFGS-B."""
    C, sign, target = problem.C, problem.sign, problem.target
    dual = reference.optimum(C, sign, target, gamma)

    def gradient(dual):
        Q = C @ np.linalg.solve(problem.inverse(dual), C.T)
        return sign * (np.diag(Q) - 1 / (1 / target - sign * dual / gamma)), Q

    for _ in range(50):
        g, Q = gradient(dual)
        free = (dual > 1e-13 * dual.max()) | (g > 0)
        xi = 1 / (1 / target - sign * dual / gamma)
        hessian = -(sign[:, None] * Q * sign) * Q - np.diag(xi**2 / gamma)
        step = np.zeros_like(dual)
        step[free] = -np.linalg.solve(hessian[np.ix_(free, free)], g[free])
        dual = np.maximum(dual + step, 0)
    g, _ = gradient(dual)
    assert np.abs(np.where(dual > 0, g, np.maximum(g, 0))).max() < 1e-8 * np.abs(target).max()
    return dual


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("gamma", [0.1, 1.0, 10.0])
def test_dual_optimum_to_rounding(form, gamma):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 5))
    y = np.arange(40) % 3
    X[:, 0] += y
    pairs, sign = sample_pairs(y, 30, rng)
    squared = ((X[pairs[:, 0]] - X[pairs[:, 1]]) ** 2).sum(axis=1)
    problem = Problem(X, pairs, sign, np.percentile(squared, (5, 95)))
    best = projected_newton(problem, gamma)
    for solver in SOLVERS:
        session = problem.session(form, gamma, solver)
        session.advance(10_000)
        result = session.result()
        A, ours = np.linalg.inv(problem.inverse(best)), result["components"].T @ result["components"]
        assert np.linalg.norm(ours - A) < 1e-8 * np.linalg.norm(A)
        np.testing.assert_allclose(result["dual"], best, rtol=1e-7, atol=1e-8 * best.max())
        expected = reference.dual_objective(best, problem.C, problem.sign, problem.target, gamma)
        np.testing.assert_allclose(-session.objective(), expected, rtol=1e-12)
        assert abs(result["gap"][-1]) < 1e-10 * abs(expected)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    "dtype,length,gamma,within", [(np.float32, 1e-3, 1e7, True), (np.float32, 1e-3, np.inf, True), (np.float64, 1e-8, np.inf, False), (np.float64, 1e-8, 1e13, False)]
)  # fmt: skip
def test_one_short_dissimilar_pair(dtype, length, gamma, within, solver):
    """It reaches its bound and slack; where that is beyond double precision, the pair is left out, dual variable and all."""
    pair = np.array([[[length, 0], [0, 0]]], dtype=dtype)
    model = ITML(gamma, bounds=(1.0, 4.0), max_iter=4, tol=0, solver=solver)
    if within:
        with warnings.catch_warnings(action="error"):
            model.fit(pair, [-1])
        # 1/p0 - dual = 1/4 + dual/gamma
        squared = np.float64(pair[0, 0, 0]) ** 2
        dual = (1 / squared - 1 / 4) / (1 + 1 / gamma)
        np.testing.assert_allclose(model.pair_distance(pair) ** 2, 1 / (1 / 4 + dual / gamma), rtol=1e-6)
    else:
        with pytest.warns(ConvergenceWarning, match="the last sweep left out 1 pairs"):
            model.fit(pair, [-1])
        np.testing.assert_array_equal(model.dual_, 0)
        np.testing.assert_array_equal(model.get_mahalanobis_matrix(), np.eye(2))
        assert model.dual_gap_ > 0


def test_bounds_without_slack():
    """Feasible ones are kept, and the gap closes from above."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        pairs, sign = rng.normal(size=(5, 2, 8)), np.array([1, 1, -1, -1, -1])
        model = ITML(np.inf, bounds=(1.0, 20.0), max_iter=2000, tol=0).fit(pairs, sign)
        distances = model.pair_distance(pairs) ** 2
        assert (distances[:2] < 1 + 1e-9).all()
        assert (distances[2:] > 20 - 1e-7).all()
        assert -1e-6 < model.dual_gap_


def test_pairs_in_any_order_have_one_optimum():
    problem = sampled(load_digits, 3)
    order = np.argsort(problem.sign * np.random.default_rng(0).random(len(problem.sign)))
    other = Problem(problem.points, problem.pairs[order], problem.sign[order], problem.target[[0, -1]])
    sessions = [p.session("dense", 0.5) for p in (problem, other)]
    for session in sessions:
        session.advance(2000)
    one, two = (session.result() for session in sessions)
    place = [np.flatnonzero((problem.pairs == pair).all(axis=1))[0] for pair in other.pairs]
    np.testing.assert_allclose(two["dual"], one["dual"][place], atol=1e-9 * one["dual"].max())


def test_no_matrix_of_features_by_features():
    """A fit at 20,000 features in an address space that has no room for one (3.2 GB) beside what is mapped before."""
    script = """
        import resource
        import numpy as np
        from steppe.metric import GMML, ITML

        rng = np.random.default_rng(0)
        X = rng.normal(size=(30, 20_000))
        small = {"preprocessor": X[:, :50]}
        pairs, sign = rng.permutation(30).reshape(15, 2), np.where(np.arange(15) % 2, 1, -1)
        for make in (ITML, GMML):
            make(**small).fit(pairs, sign)
        with open("/proc/self/statm") as statm:
            mapped = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + 2**30, mapped + 2**30))
        for make in (ITML, GMML):
            model = make(preprocessor=X, n_jobs=2).fit(pairs, sign)
            assert np.isfinite(model.pair_distance(pairs)).all()
            assert model.transform(X[:3]).shape == (3, 20_000)
        try:
            np.empty((20_000, 20_000))
        except MemoryError:
            print("fitted")
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout == "fitted\n", done.stderr


@pytest.fixture(scope="module")
def beyond():
    """More features than a matrix may have."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(14, 4001))
    pairs = np.stack(np.triu_indices(14, 1), axis=1)
    return X, pairs, np.where(pairs[:, 0] % 3 == pairs[:, 1] % 3, 1, -1)


@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
def test_gmml_objective_of_many_features(beyond, t):
    X, pairs, sign = beyond
    model = GMML(t, reg=0.3, preprocessor=X).fit(pairs, sign)
    C = X[pairs[:, 0]] - X[pairs[:, 1]]
    Q = np.linalg.qr((X - X.mean(axis=0)).T)[0][:, :13]
    M, S, D = gmml_reference.gmml(C @ Q, sign, t, 0.3)
    inverse = np.linalg.inv(S)
    inside = (1 - t) * gmml_reference.riemannian(M, inverse) + t * gmml_reference.riemannian(M, D)
    # Outside the span, S = D = reg and A = reg^(2 t - 1), for each of the other directions.
    outside = (1 - t) * np.log(0.3 ** (2 * t)) ** 2 + t * np.log(0.3 ** (2 * t - 2)) ** 2
    expected = inside + (4001 - 13) * outside
    np.testing.assert_allclose(model.history_["objective"], [expected], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("make", [lambda **p: ITML(1.0, max_iter=5, tol=0, **p), lambda **p: GMML(0.3, **p)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_matrix_from_factors(beyond, make):
    X, pairs, sign = beyond
    model = make(preprocessor=X).fit(pairs, sign)
    L = model.components_.toarray()
    np.testing.assert_allclose(model.get_mahalanobis_matrix(), L.T @ L, rtol=1e-9, atol=1e-9)


class Alarm:
    """KeyboardInterrupt after that many seconds, as Ctrl-C raises it."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __enter__(self):
        def interrupt(*_):
            raise KeyboardInterrupt

        self.before = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *_):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)


@pytest.mark.parametrize("make", [lambda **p: ITML(max_iter=1, tol=0, **p), GMML], ids=["ITML", "GMML"])
@pytest.mark.parametrize("n_features", [2000, 6000])
def test_interrupted_before_the_first_round(make, n_features):
    """Nothing is published, and nothing is lost of an earlier fit."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1400, n_features))
    pairs, sign = rng.permutation(1400).reshape(-1, 2), np.where(np.arange(700) % 2, 1, -1)
    model = make(preprocessor=X)
    with Alarm(0.08), pytest.raises(KeyboardInterrupt):
        model.fit(pairs, sign)
    with pytest.raises(NotFittedError):
        model.transform(X[:1])
    model.set_params(preprocessor=X[:, :5]).fit(pairs, sign)
    before = model.components_
    with Alarm(0.08), pytest.raises(KeyboardInterrupt):
        model.set_params(preprocessor=X).fit(pairs, sign)
    assert model.components_ is before
