#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "schedules/rank_harness.hpp"
#include "steppe/comm/local_link.hpp"
#include "steppe/models/metric/itml_session.hpp"
#include "system_blas.hpp"

using namespace steppe;

namespace {

[[maybe_unused]] const bool kHaveBlas = use_system_blas();

template <class T>
struct Problem {
  std::size_t n, d;
  std::vector<T> points;
  std::vector<std::int64_t> pairs;
  std::vector<double> sign, target;

  Problem(std::size_t n_, std::size_t d_, std::size_t c, std::uint64_t seed = 0) : n(n_), d(d_), points(n_ * d_) {
    Stream stream(seed, Purpose::data, 0);
    for (T& value : points) value = static_cast<T>(stream.normal());
    for (std::size_t k = 0; k < c; ++k) {
      const auto i = stream.below(static_cast<std::uint32_t>(n));
      const auto j = (i + 1 + stream.below(static_cast<std::uint32_t>(n - 1))) % static_cast<std::uint32_t>(n);
      add(i, j, k < c / 2 ? 1 : -1);
    }
  }
  void add(std::int64_t i, std::int64_t j, double kind) {
    pairs.insert(pairs.end(), {i, j});
    sign.push_back(kind);
    target.push_back(static_cast<double>(d) * (kind > 0 ? 1.0 : 3.0));
  }
  ItmlData<T> data() const { return {{{points.data(), n, d}, {pairs.data(), sign.size(), 2}, {}}, sign, target, {}}; }
};

struct Fit {
  ArrayMap result;
  std::vector<double> objectives;
};

template <class T>
Fit fit(const Problem<T>& problem, Link& link, ItmlParams params = {}, std::uint32_t rounds = 5) {
  Control control;
  const auto session = make_itml_session<T>(params, problem.data(), link);
  Fit fitted;
  for (std::uint32_t round = 0; round < rounds; ++round) {
    session->advance(1, control);
    fitted.objectives.push_back(session->objective(control));
  }
  fitted.result = session->result();
  return fitted;
}

template <class T>
double largest_difference(const Array& a, const Array& b) {
  REQUIRE(a.shape == b.shape);
  double largest = 0;
  for (std::size_t i = 0; i < a.as<T>().size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(a.as<T>()[i]) - static_cast<double>(b.as<T>()[i])));
  }
  return largest;
}

ItmlParams of_form(const char* form, std::size_t block = 0, std::uint32_t threads = 1) {
  ItmlParams params;
  params.form = form;
  params.block = block;
  params.n_threads = threads;
  return params;
}

}  // namespace

TEST_CASE("the three forms and any block size give the same metric") {
  const Problem<double> problem(25, 9, 60);
  LocalLink link;
  const Fit one = fit(problem, link, of_form("dense", 1));
  for (const char* form : {"dense", "span", "products"}) {
    for (const std::size_t block : {1, 7, 32, 60, 100}) {
      const Fit other = fit(problem, link, of_form(form, block));
      CHECK(largest_difference<double>(one.result.at("dual"), other.result.at("dual")) < 1e-10);
      CHECK(largest_difference<double>(one.result.at("components"), other.result.at("components")) < 1e-10);
    }
  }
}

TEST_CASE("threads and ranks do not change a bit") {
  const Problem<double> problem(420, 400, 90);  // large enough for the ranks to share rows
  LocalLink alone;
  for (const char* form : {"dense", "span", "products"}) {
    for (const bool in_parallel : {false, true}) {
      ItmlParams params = of_form(form, 16);
      params.in_parallel = in_parallel;
      const Fit one = fit(problem, alone, params, 2);
      for (const std::uint32_t ranks : {1, 2, 3}) {
        std::vector<Fit> fits(ranks);
        ItmlParams threaded = params;
        threaded.n_threads = 2;
        on_ranks(ranks, [&](std::uint32_t rank, Link& link) { fits[rank] = fit(problem, link, threaded, 2); });
        for (const Fit& other : fits) {
          CHECK(other.objectives == one.objectives);
          CHECK(other.result.at("components").data == one.result.at("components").data);
        }
      }
    }
  }
}

TEST_CASE("the ranks share the rows of a large matrix of products") {
  const Problem<float> problem(60, 20, 450);
  LocalLink alone;
  const Fit one = fit(problem, alone, of_form("products"), 2);
  on_ranks(3, [&](std::uint32_t, Link& link) {
    const Fit other = fit(problem, link, of_form("products"), 2);
    CHECK(other.objectives == one.objectives);
    CHECK(other.result.at("dual").data == one.result.at("dual").data);
  });
}

TEST_CASE("the dual rises in every round of both solvers, and the gap closes") {
  const Problem<double> problem(30, 10, 50);
  LocalLink link;
  for (const bool in_parallel : {false, true}) {
    ItmlParams params;
    params.in_parallel = in_parallel;
    const Fit fitted = fit(problem, link, params, 300);
    for (std::size_t i = 1; i < fitted.objectives.size(); ++i) {
      CHECK(fitted.objectives[i] <= fitted.objectives[i - 1] + 1e-10);
    }
    CHECK(fitted.result.at("gap").as<double>().back() >= -1e-9);
    CHECK(fitted.result.at("gap").as<double>().back() < 1e-3);
  }
}

TEST_CASE("a fit that resumes ends with the same bits") {
  const Problem<float> problem(30, 12, 80);
  LocalLink link;
  Control control;
  const auto whole = make_itml_session<float>({}, problem.data(), link);
  whole->advance(60, control);
  const auto first = make_itml_session<float>({}, problem.data(), link);
  first->advance(49, control);
  const auto second = make_itml_session<float>({}, problem.data(), link);
  second->restore(first->state());
  second->advance(11, control);
  CHECK(second->rounds_done() == 60);
  CHECK(second->result().at("dual").data == whole->result().at("dual").data);
  CHECK(second->objective(control) == whole->objective(control));
}

TEST_CASE("a start from dual variables of another problem stays positive definite") {
  Problem<double> problem(20, 4, 40);
  const std::vector<double> start(40, 5.0);
  ItmlData<double> data = problem.data();
  data.start_dual = start;
  LocalLink link;
  Control control;
  const auto session = make_itml_session<double>({}, data, link);
  CHECK(std::isfinite(session->objective(control)));
  session->advance(200, control);
  const Fit cold = fit(problem, link, {}, 200);
  CHECK(session->objective(control) == doctest::Approx(cold.objectives.back()).epsilon(1e-3));
}

TEST_CASE("a start that would not be positive definite is made smaller, not zero") {
  for (const char* form : {"dense", "span", "products"}) {
    Problem<double> problem(20, 4, 40);
    const std::vector<double> start(40, 5.0);
    ItmlData<double> data = problem.data();
    data.start_dual = start;
    LocalLink link;
    Control control;
    const auto session = make_itml_session<double>(of_form(form), data, link);
    CHECK(std::isfinite(session->objective(control)));
    const ArrayMap state = session->state();
    std::size_t smaller = 0;
    for (const double dual : at(state, "dual").as<double>()) {
      CHECK(dual > 0);
      smaller += dual < 0.2 ? 1 : 0;
    }
    CHECK(smaller > 0);
    CHECK(at(state, "shrunk").as<std::uint64_t>()[0] == 0);  // a start is no failure of the fit
  }
}

TEST_CASE("a stop before the first sweep leaves no result, and the fit can begin anew") {
  struct Impatient final : Control {
    bool poll() override { return true; }
  } impatient;
  const Problem<float> problem(700, 4100, 900);
  for (const char* form : {"span", "products"}) {
    LocalLink link;
    Control control;
    const auto session = make_itml_session<float>(of_form(form), problem.data(), link);
    CHECK(session->advance(1, impatient).stopped);
    CHECK(session->rounds_done() == 0);
    CHECK(session->result().empty());
    CHECK_FALSE(session->advance(1, control).stopped);
    const Fit whole = fit(problem, link, of_form(form), 1);
    CHECK(session->objective(control) == whole.objectives[0]);
    CHECK(session->result().at("basis").data == whole.result.at("basis").data);
  }
}

TEST_CASE("a stop on one rank stops all, and none waits for another") {
  struct StopsRank final : Control {
    explicit StopsRank(bool stops) : stops_(stops) {}
    bool poll() override { return stops_; }
    bool stops_;
  };
  const Problem<float> problem(700, 4100, 900);
  on_ranks(3, [&](std::uint32_t rank, Link& link) {
    const auto session = make_itml_session<float>(of_form("span"), problem.data(), link);
    StopsRank some(rank == 1), nobody(false);
    CHECK(session->advance(1, some).stopped);
    CHECK_FALSE(session->advance(1, nobody).stopped);
    CHECK(session->rounds_done() == 1);
  });
}

TEST_CASE("many features: factors, without a matrix of features by features") {
  const Problem<double> problem(12, 5000, 40);
  LocalLink link;
  const Fit span = fit(problem, link, of_form("span")), products = fit(problem, link, of_form("products"));
  const Array& basis = span.result.at("basis");
  CHECK(basis.shape[0] <= 11);
  CHECK(basis.shape[1] == 5000);
  CHECK(span.result.count("components") == 0);
  CHECK(largest_difference<double>(span.result.at("eigenvalues"), products.result.at("eigenvalues")) < 1e-9);
  const auto b = basis.as<double>();
  for (std::size_t i = 0; i < basis.shape[0]; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double dot = 0;
      for (std::size_t l = 0; l < 5000; ++l) dot += b[i * 5000 + l] * b[j * 5000 + l];
      CHECK(dot == doctest::Approx(i == j ? 1.0 : 0.0).epsilon(1e-10));
    }
  }
}

TEST_CASE("the form follows the operation count") {
  CHECK(choose_itml_form(2000, 1000, 50) == ItmlForm::dense);
  CHECK(choose_itml_form(2000, 1000, 500) == ItmlForm::dense);
  CHECK(choose_itml_form(50, 1225, 51456) == ItmlForm::span);
  CHECK(choose_itml_form(2000, 10000, 100000) == ItmlForm::span);
  CHECK(choose_itml_form(5000, 2500, 100000) == ItmlForm::products);
  CHECK(choose_itml_form(200, 100, 3000) != ItmlForm::dense);
}

TEST_CASE("duplicate and contradictory pairs keep the metric positive definite") {
  Problem<double> problem(6, 3, 10);
  for (int copy = 0; copy < 5; ++copy) problem.add(0, 1, 1);
  for (int copy = 0; copy < 5; ++copy) problem.add(0, 1, -1);
  LocalLink link;
  for (const bool in_parallel : {false, true}) {
    for (const double gamma : {0.1, 1.0, 100.0}) {
      ItmlParams params;
      params.in_parallel = in_parallel;
      params.gamma = gamma;
      const Fit fitted = fit(problem, link, params, 100);
      CHECK(std::isfinite(fitted.objectives.back()));
      for (const double value : fitted.result.at("components").as<double>()) CHECK(std::isfinite(value));
    }
  }
}
