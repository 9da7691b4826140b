#include <doctest/doctest.h>

#include "models/linear_model/multinomial_cases.hpp"
#include "steppe/models/linear_model/lbfgs.hpp"
#include "steppe/schedules/replay.hpp"

using namespace steppe;

namespace {

// One round of dual coordinate ascent on one row after the other, each row's equation solved by bisection.
MultinomialFitted<double> oracle(const SoftmaxCase<double>& data, const MultinomialLogisticParams& params,
                                 std::uint32_t rounds) {
  const std::size_t n = data.n_rows, k = data.n_classes, d = data.n_features;
  MultinomialFitted<double> fitted;
  fitted.weights.assign(d * k, 0);
  fitted.intercept.assign(k, 0);
  std::vector<double> q(n * k), dual_sum(k);
  for (std::size_t i = 0; i < n; ++i) q[i * k + static_cast<std::size_t>(data.labels[i])] = 1;
  const double scale = 100.0 * static_cast<double>(k);
  std::vector<std::uint32_t> order(n);
  for (std::uint32_t round = 0; round < rounds; ++round) {
    std::iota(order.begin(), order.end(), 0u);
    Stream stream(params.seed, Purpose::sample, 0, round);
    shuffle(std::span(order), stream);
    for (std::size_t c = 0; c < k; ++c) fitted.intercept[c] -= scale * dual_sum[c];
    for (const std::uint32_t i : order) {
      const auto row = data.csr().row(i);
      double norm = 0;
      for (const double value : row.values) norm += value * value;
      const double omega = data.weights[i] / data.total_weight(), kappa = omega * (norm / params.alpha + scale);
      const auto u = data.scores(i, fitted.weights.data(), k, fitted.intercept.data());
      const auto q_at = [&](double nu, std::size_t c) {  // log q + kappa q = u - nu + kappa q_old
        double low = 0, high = 1;
        for (int step = 0; step < 100; ++step) {
          const double middle = (low + high) / 2;
          (std::log(middle) + kappa * (middle - q[i * k + c]) < u[c] - nu ? low : high) = middle;
        }
        return (low + high) / 2;
      };
      double low = log_sum_exp(u) - kappa - 50, high = log_sum_exp(u) + kappa + 50;
      for (int step = 0; step < 100; ++step) {
        const double nu = (low + high) / 2;
        double mass = 0;
        for (std::size_t c = 0; c < k; ++c) mass += q_at(nu, c);
        (mass > 1 ? low : high) = nu;
      }
      for (std::size_t c = 0; c < k; ++c) {
        const double change = q_at((low + high) / 2, c) - q[i * k + c];
        q[i * k + c] += change;
        dual_sum[c] += omega * change;
        fitted.intercept[c] -= omega * scale * change;
        for (std::size_t e = 0; e < row.size(); ++e) {
          fitted.weights[static_cast<std::size_t>(row.indices[e]) * k + c] -=
              omega / params.alpha * change * row.values[e];
        }
      }
    }
  }
  return fitted;
}

// A nomad or bsp fit with its record.
template <class T>
struct Recorded {
  std::vector<T> rows;
  std::vector<MultinomialShard<T>> shards;
  Record record;
};

template <class T>
std::vector<MultinomialShard<T>> make_shards(const MultinomialLogisticProblem<T>& problem, const SoftmaxCase<T>& data,
                                             std::size_t first, std::size_t last, std::size_t n_shards) {
  std::vector<MultinomialShard<T>> shards;
  for (std::size_t s = first; s < last; ++s) {
    const std::size_t from = s * data.n_rows / n_shards, to = (s + 1) * data.n_rows / n_shards;
    const auto rows = rows_of(data, from, to);
    shards.push_back(
        problem.make_shard({kernels::RowsView<T>(rows.rows), rows.labels, rows.weights}, data.total_weight(), {}));
  }
  return shards;
}

template <class T>
Recorded<T> record_fit(const SoftmaxCase<T>& data, const MultinomialLogisticProblem<T>& problem, const Layout& layout,
                       Schedule schedule) {
  Recorded<T> all;
  all.shards.resize(total(layout));
  all.rows.resize(std::size_t{problem.n_tokens()} * problem.row_size());
  on_ranks(static_cast<std::uint32_t>(layout.size()), [&](std::uint32_t rank, Link& link) {
    MultinomialLogisticProblem<T> mine = problem;
    const std::uint32_t first = before(layout, rank);
    auto shards = make_shards(problem, data, first, first + layout[rank], total(layout));
    Team team(layout[rank]);
    Control control;
    Engine<MultinomialLogisticProblem<T>> engine(mine, shards, link, team,
                                                 {.schedule = schedule, .seed = 5, .record = true});
    for (int run = 0; run < 3; ++run) engine.run(MultinomialLogisticProblem<T>::kTrain, 2, true, control);
    std::vector<T> rows(all.rows.size());
    engine.gather(rows);
    auto record = engine.record();
    std::move(shards.begin(), shards.end(), all.shards.begin() + first);
    if (rank == 0) all.rows = rows, all.record = record;
  });
  return all;
}

template <class T>
std::vector<double> state_of(MultinomialShard<T>& shard) {
  std::vector<double> values;
  MultinomialLogisticProblem<T>::state(shard, [&](const char*, auto span) {
    for (const auto value : span) values.push_back(double(value));
  });
  return values;
}

}  // namespace

TEST_CASE("serial equals the oracle") {
  const SoftmaxCase<double> data(25, 8, 5);
  auto params = params_for(5, data.total_weight());
  const auto expected = oracle(data, params, 2);
  const auto fitted = fit_alone(data, params, 2);
  for (std::size_t e = 0; e < expected.weights.size(); ++e) {
    CHECK(std::abs(fitted.weights[e] - expected.weights[e]) < 1e-3);
  }
  for (std::size_t c = 0; c < 5; ++c) CHECK(std::abs(fitted.intercept[c] - expected.intercept[c]) < 1e-3);
}

TEST_CASE("every schedule and both solvers reach one optimum") {
  const SoftmaxCase<double> data(120, 15, 37);
  auto params = params_for(37, data.total_weight());
  params.solver = "softmax";
  const auto exact = fit_alone(data, params, 200);
  const double best = exact.objectives.back();
  CHECK(best == doctest::Approx(plain_objective(data, params.alpha, exact)).epsilon(1e-12));
  params.solver = "ds_mlr";
  for (const char* schedule : {"serial", "bsp", "nomad", "hogwild"}) {
    params.schedule = schedule;
    for (const std::uint32_t threads : {1u, 2u, 4u}) {
      params.n_threads = threads;
      CAPTURE(schedule);
      CAPTURE(threads);
      const auto fitted = fit_alone(data, params, 500);
      CHECK(fitted.objectives.back() == doctest::Approx(best).epsilon(1e-5));
      CHECK(fitted.objectives.back() == doctest::Approx(plain_objective(data, params.alpha, fitted)).epsilon(1e-10));
    }
  }
}

TEST_CASE("float32 reaches the optimum to its own accuracy, with and without intercept") {
  const SoftmaxCase<float> data(100, 12, 20);
  for (const bool intercept : {false, true}) {
    auto params = params_for(20, data.total_weight());
    params.fit_intercept = intercept;
    params.solver = "softmax";
    const double best = fit_alone(data, params, 100).objectives.back();
    params.solver = "ds_mlr";
    const auto fitted = fit_alone(data, params, 100);
    CHECK(fitted.objectives.back() == doctest::Approx(best).epsilon(1e-4));
    CHECK((fitted.intercept == std::vector<float>(20)) == !intercept);
  }
}

TEST_CASE_TEMPLATE("bsp depends on the number of shards, not on threads or ranks", T, float, double) {
  const SoftmaxCase<T> data(64, 10, 70);
  auto params = params_for(70, data.total_weight());
  params.schedule = "bsp";
  params.n_shards = 4;
  const auto reference = fit_alone(data, params, 12);
  for (const std::uint32_t threads : {2u, 4u}) {
    params.n_threads = threads;
    CHECK(fit_alone(data, params, 12) == reference);
  }
  const MultinomialLogisticProblem<T> problem({.alpha = 1e-2, .n_features = 10}, ClassBlocks::cut<T>(70, 4), {});
  auto one_rank = record_fit(data, problem, {4}, Schedule::bsp);
  for (const Layout& layout : {Layout{2, 2}, Layout{1, 3}, Layout{1, 1, 2}}) {
    auto other = record_fit(data, problem, layout, Schedule::bsp);
    CHECK(other.rows == one_rank.rows);
    for (std::size_t s = 0; s < 4; ++s) CHECK(state_of(other.shards[s]) == state_of(one_rank.shards[s]));
  }
}

TEST_CASE_TEMPLATE("a recorded run replayed on one thread is bit-equal", T, float, double) {
  const SoftmaxCase<T> data(50, 9, 100);
  const MultinomialLogisticProblem<T> problem({.alpha = 1e-2, .n_features = 9}, ClassBlocks::cut<T>(100, 5), {});
  for (const Layout& layout : {Layout{1}, Layout{2}, Layout{4}, Layout{2, 2}, Layout{1, 2, 1}}) {
    for (const Schedule schedule : {Schedule::bsp, Schedule::nomad}) {
      auto fitted = record_fit(data, problem, layout, schedule);
      MultinomialLogisticProblem<T> again = problem;
      auto shards = make_shards(problem, data, 0, total(layout), total(layout));
      CHECK(replay(again, shards, fitted.record, 5) == fitted.rows);
      for (std::size_t s = 0; s < shards.size(); ++s) CHECK(state_of(shards[s]) == state_of(fitted.shards[s]));
    }
  }
}

TEST_CASE("ranks reach the objective of one process, uneven and empty ones included") {
  const SoftmaxCase<double> data(90, 12, 40);
  auto params = params_for(40, data.total_weight());
  const double best = fit_alone(data, params, 500).objectives.back();
  for (const std::vector<std::size_t>& bounds : {std::vector<std::size_t>{0, 45, 90}, {0, 90, 90}, {0, 1, 60, 90}}) {
    for (const char* schedule : {"bsp", "nomad"}) {
      params.schedule = schedule;
      CHECK(fit_on_ranks(data, params, bounds, 500).objectives.back() == doctest::Approx(best).epsilon(1e-5));
    }
    params.solver = "softmax";
    CHECK(fit_on_ranks(data, params, bounds, 500).objectives.back() == doctest::Approx(best).epsilon(1e-5));
    params.solver = "ds_mlr";
  }
}

// -sum_i omega_i sum_k q log q - alpha/2 ||W||^2, for the W that q stands for.
double dual_objective(const SoftmaxCase<double>& data, double alpha,
                      const std::vector<MultinomialShard<double>>& shards) {
  const std::size_t k = data.n_classes;
  std::vector<double> weights(data.n_features * k);
  double value = 0;
  std::size_t i = 0;
  for (const auto& shard : shards) {
    for (std::size_t r = 0; r < shard.x.rows(); ++r, ++i) {
      const auto row = data.csr().row(i);
      for (std::size_t c = 0; c < k; ++c) {
        const double q = shard.dual[r * k + c];
        if (q > 0) value -= shard.weight[r] * q * std::log(q);
        const double residual = shard.weight[r] * (q - (static_cast<std::size_t>(data.labels[i]) == c ? 1 : 0));
        for (std::size_t e = 0; e < row.size(); ++e) {
          weights[static_cast<std::size_t>(row.indices[e]) * k + c] -= residual * row.values[e] / alpha;
        }
      }
    }
  }
  for (const double weight : weights) value -= alpha / 2 * weight * weight;
  return value;
}

TEST_CASE("on any number of workers the dual never falls, and duals stay distributions") {
  const SoftmaxCase<double> data(60, 8, 70, 3.0);
  const double alpha = 1e-4;  // steps reach far: staleness would show
  for (const Schedule schedule : {Schedule::bsp, Schedule::nomad}) {
    const MultinomialLogisticProblem<double> problem({.alpha = alpha, .fit_intercept = false, .n_features = 8},
                                                     ClassBlocks::cut<double>(70, 9), {});
    MultinomialLogisticProblem<double> mine = problem;
    auto shards = make_shards(mine, data, 0, 4, 4);
    LocalLink link;
    Team team(4);
    Control control;
    Engine<MultinomialLogisticProblem<double>> engine(mine, shards, link, team,
                                                      {.schedule = schedule, .seed = 5, .packet_tokens = 2});
    double last = dual_objective(data, alpha, shards);
    for (int round = 0; round < 40; ++round) {
      engine.run(MultinomialLogisticProblem<double>::kTrain, 1, true, control);
      const double now = dual_objective(data, alpha, shards);
      CHECK(now >= last - 1e-9 * std::abs(last));
      last = now;
    }
    CHECK(engine.objective(control) >= last);  // weak duality
    for (const auto& shard : shards) {
      for (std::size_t i = 0; i < shard.x.rows(); ++i) {
        const double mass = std::accumulate(shard.dual.begin() + static_cast<std::ptrdiff_t>(i * 70),
                                            shard.dual.begin() + static_cast<std::ptrdiff_t>(i * 70 + 70), 0.0);
        CHECK(mass == doctest::Approx(1).epsilon(1e-12));
      }
    }
  }
}

TEST_CASE("a weight of two equals the row twice") {
  SoftmaxCase<double> once(40, 7, 6), twice = once;
  once.weights.assign(40, 1);
  twice.weights.assign(40, 1);
  for (std::size_t i = 0; i < 40; i += 3) {
    once.weights[i] = 2;
    const auto row = once.csr().row(i);
    twice.indices.insert(twice.indices.end(), row.indices.begin(), row.indices.end());
    twice.values.insert(twice.values.end(), row.values.begin(), row.values.end());
    twice.offsets.push_back(static_cast<std::int64_t>(twice.indices.size()));
    twice.labels.push_back(once.labels[i]);
    twice.weights.push_back(1);
    ++twice.n_rows;
  }
  for (const char* solver : {"ds_mlr", "softmax"}) {
    auto params = params_for(6, once.total_weight());
    params.solver = solver;
    const auto a = fit_alone(once, params, 300), b = fit_alone(twice, params, 300);
    CHECK(a.objectives.back() == doctest::Approx(b.objectives.back()).epsilon(1e-8));
    for (std::size_t e = 0; e < a.weights.size(); ++e) {
      CHECK(a.weights[e] == doctest::Approx(b.weights[e]).epsilon(1e-3));
    }
  }
}

TEST_CASE("dense rows, and a resumed fit, end as they should") {
  const SoftmaxCase<double> data(30, 6, 20);
  std::vector<double> dense(30 * 6);
  for (std::size_t i = 0; i < 30; ++i) {
    const auto row = data.csr().row(i);
    for (std::size_t e = 0; e < row.size(); ++e)
      dense[i * 6 + static_cast<std::size_t>(row.indices[e])] = row.values[e];
  }
  LocalLink link;
  Control control;
  for (const char* solver : {"ds_mlr", "softmax"}) {
    auto params = params_for(20, data.total_weight());
    params.solver = solver;
    const auto sparse = fit_alone(data, params, 10);
    const MultinomialLogisticData<double, MatrixView<const double>> rows{
        {dense.data(), 30, 6}, data.labels, data.weights, {}, {}, {}};
    const auto same = advance<double>(*make_multinomial_logistic_session(params, rows, link), 10);
    for (std::size_t e = 0; e < same.weights.size(); ++e) CHECK(same.weights[e] == doctest::Approx(sparse.weights[e]));

    auto first = make_multinomial_logistic_session(params, rows, link);
    first->advance(4, control);
    auto second = make_multinomial_logistic_session(params, rows, link);
    second->restore(first->state());
    CHECK(second->rounds_done() == 4);
    const auto resumed = advance<double>(*second, 6);
    CHECK(resumed.weights == same.weights);
    CHECK(resumed.intercept == same.intercept);
  }
}

TEST_CASE("dual variables start another fit where the last one ended") {
  const SoftmaxCase<double> data(60, 9, 12);
  auto params = params_for(12, data.total_weight());
  params.keep_dual = true;
  const auto first = fit_alone(data, params, 60);
  LocalLink link;
  auto rows = rows_of(data, 0, 60);
  rows.start_dual = first.dual;
  rows.start_intercept = first.intercept;
  for (const char* schedule : {"serial", "bsp"}) {
    params.schedule = schedule;
    params.n_threads = 2;  // shards hold other rows than before
    const auto again = advance<double>(*make_multinomial_logistic_session(params, rows, link), 1);
    CHECK(again.objectives.back() == doctest::Approx(first.objectives.back()).epsilon(1e-3));
  }
}

TEST_CASE_TEMPLATE("weights that are handed over instead of copied are the same, and the fit goes on", T, float,
                   double) {
  const SoftmaxCase<T> data(30, 5, 12);
  auto params = params_for(12, data.total_weight());
  LocalLink link;
  Control control;
  for (const char* schedule : {"serial", "bsp", "nomad"}) {
    params.schedule = schedule;
    params.n_threads = 2;
    params.hand_over_bytes = std::size_t{1} << 28;
    const auto expected = fit_alone(data, params, 8);
    const auto far = fit_alone(data, params, 60);
    params.hand_over_bytes = 0;
    auto session = make_multinomial_logistic_session(params, rows_of(data, 0, data.n_rows), link);
    auto handed = advance<T>(*session, 8);
    const bool repeats = params.schedule != "nomad";
    for (std::size_t e = 0; repeats && e < handed.weights.size(); ++e) {
      CHECK(std::abs(handed.weights[e] - expected.weights[e]) < 1e-4);
    }
    CHECK((!repeats || handed.intercept == expected.intercept));
    CHECK(session->rounds_done() == 8);
    const auto shown = advance<T>(*session, 0);
    CHECK(shown.weights == handed.weights);
    CHECK(session->objective(control) == doctest::Approx(plain_objective(data, params.alpha, handed)).epsilon(1e-5));
    CHECK(advance<T>(*session, 60).objectives.back() == doctest::Approx(far.objectives.back()).epsilon(1e-4));
    CHECK(session->rounds_done() == 68);
  }
}

TEST_CASE_TEMPLATE("a checkpoint written after weights were handed over resumes bit-equal", T, float, double) {
  const SoftmaxCase<T> data(60, 9, 40);
  auto params = params_for(40, data.total_weight());
  params.n_threads = 2;
  params.hand_over_bytes = 0;
  LocalLink link;
  Control control;
  for (const char* schedule : {"serial", "bsp"}) {
    params.schedule = schedule;
    auto first = make_multinomial_logistic_session(params, rows_of(data, 0, 60), link);
    auto second = make_multinomial_logistic_session(params, rows_of(data, 0, 60), link);
    first->advance(1, control);
    first->result();
    second->restore(first->state());
    CHECK(second->rounds_done() == 1);
    CHECK(second->objective(control) == first->objective(control));
    CHECK(advance<T>(*first, 3) == advance<T>(*second, 3));
  }
}

TEST_CASE("a halt reaches into every pass over many rows") {
  const SoftmaxCase<double> data(4000, 40, 300);
  using Problem = MultinomialLogisticProblem<double>;
  const ClassBlocks classes = ClassBlocks::cut<double>(300, 1);
  Problem problem({.alpha = 1e-2, .intercept_scale = 1, .n_features = 40}, classes, {});
  AlignedVector<double> row(problem.row_size());
  const std::uint32_t ids[] = {0};
  for (const Pass pass : {Problem::kTrain, Problem::kEvaluate, Problem::kInit}) {
    for (const bool shared : {false, true}) {
      if (shared && pass != Problem::kTrain) continue;
      auto shards = make_shards(problem, data, 0, 1, 1);
      problem.init_token({0, row}, 0);
      const std::size_t most_work = 300 * shards[0].row_size;  // of a row
      std::vector<std::uint64_t> asked;
      const auto visit = [&](std::size_t patience) {
        asked.clear();
        const auto halted = [&](std::uint64_t updates) {
          asked.push_back(updates);
          return asked.size() > patience;
        };
        VisitContext context;
        context.pass = pass;
        context.halted = HaltProbe(halted);
        const Bundle<double> bundle(ids, row.data(), problem.row_size());
        return shared ? problem.visit_shared(shards[0], bundle, context) : problem.visit(shards[0], bundle, context);
      };
      visit(1000);
      const std::size_t parts = asked.size();
      REQUIRE(parts > 1);
      for (const std::uint64_t updates : asked) CHECK(updates * shards[0].row_size <= (1u << 24) + most_work);
      visit(0);
      CHECK(asked.size() == 1);
    }
  }
}

// Stops whatever lasts until it is asked.
class Impatient : public Control {
 public:
  bool poll() override { return true; }
};

TEST_CASE("what was stopped leaves no trace in the objective or in tokens made from dual variables") {
  const SoftmaxCase<double> data(4000, 40, 400);
  auto params = params_for(400, data.total_weight());
  params.keep_dual = true;
  LocalLink link;
  Control control;
  Impatient impatient;
  auto session = make_multinomial_logistic_session(params, rows_of(data, 0, 4000), link);
  const auto fitted = advance<double>(*session, 1);
  const double before = session->objective(control);
  session->objective(impatient);
  CHECK(session->objective(control) == before);

  auto rows = rows_of(data, 0, 4000);
  rows.start_dual = fitted.dual;
  rows.start_intercept = fitted.intercept;
  params.schedule = "bsp";
  auto again = make_multinomial_logistic_session(params, rows, link);
  again->objective(impatient);
  const auto result = again->result();
  const auto weights = at(result, "weights").as<double>();
  for (std::size_t e = 0; e < weights.size(); ++e) CHECK(std::abs(weights[e] - fitted.weights[e]) < 1e-9);
}

TEST_CASE("L-BFGS that is stopped stays where it was, and goes on") {
  struct Stop : Control {
    bool now = false;
    bool poll() override { return now; }
  } control;
  Team team(2);
  std::uint32_t calls = 0;
  // (x - 1)^2 / 2, from zero; a call that may be stopped waits until it is.
  const auto function = [&](std::span<const double> at, std::span<double> gradient,
                            Pacer& pacer) -> std::optional<double> {
    ++calls;
    while (control.now && !pacer.stop_requested()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (pacer.stop_requested()) return std::nullopt;
    double value = 0;
    for (std::size_t e = 0; e < at.size(); ++e) {
      gradient[e] = at[e] - 1;
      value += gradient[e] * gradient[e] / 2;
    }
    return value;
  };
  Lbfgs<double> lbfgs(
      Lbfgs<double>::Vector(64, 0.0), std::vector<double>(8, 0.3), 8, function, [](bool mine) { return mine; }, team);
  CHECK(lbfgs.step(control) == Lbfgs<double>::Outcome::moved);
  const std::vector<double> point(lbfgs.point().begin(), lbfgs.point().end());
  const auto value = lbfgs.value(control);
  control.now = true;
  calls = 0;
  CHECK(lbfgs.step(control) == Lbfgs<double>::Outcome::stopped);
  CHECK(calls == 1);
  CHECK(std::ranges::equal(lbfgs.point(), point));
  control.now = false;
  CHECK(lbfgs.value(control) == value);
  for (int step = 0; step < 20; ++step) lbfgs.step(control);
  for (const double x : lbfgs.point()) CHECK(x == doctest::Approx(1));
}

TEST_CASE("parameters that make no sense are refused") {
  const SoftmaxCase<double> data(10, 4, 3);
  LocalLink link;
  const auto refused = [&](auto change) {
    auto params = params_for(3, data.total_weight());
    change(params);
    CHECK_THROWS_AS(make_multinomial_logistic_session(params, rows_of(data, 0, 10), link), InvalidArgument);
  };
  refused([](auto& p) { p.alpha = -1; });
  refused([](auto& p) { p.alpha = 0; });
  refused([](auto& p) { p.solver = "newton"; });
  refused([](auto& p) { p.n_classes = 1; });
  refused([](auto& p) { p.damping = 1.5; });
  refused([](auto& p) { p.total_weight = 0; });
  refused([](auto& p) { p.schedule = "chaos"; });
}
