#pragma once

#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/softmax_cases.hpp"
#include "schedules/rank_harness.hpp"
#include "steppe/comm/local_link.hpp"
#include "steppe/models/linear_model/multinomial_logistic_fit.hpp"
#include "steppe/models/linear_model/multinomial_logistic_problem.hpp"

// Fits of a SoftmaxCase, on one rank or on several threads that are ranks.

template <class T>
struct MultinomialFitted {
  std::vector<T> weights, intercept, dual;
  std::vector<double> objectives;
  bool operator==(const MultinomialFitted&) const = default;
};

template <class T>
steppe::MultinomialLogisticData<T, steppe::CsrView<T>> rows_of(const SoftmaxCase<T>& data, std::size_t first,
                                                               std::size_t last) {
  return {data.csr().rows_between(first, last),
          std::span(data.labels).subspan(first, last - first),
          std::span(data.weights).subspan(first, last - first),
          {},
          {},
          {}};
}

template <class T>
MultinomialFitted<T> advance(steppe::FitSession& session, std::uint32_t rounds) {
  steppe::Control control;
  MultinomialFitted<T> fitted;
  for (std::uint32_t round = 0; round < rounds; ++round) {
    session.advance(1, control);
    if (round % 10 == 9 || round + 1 == rounds) fitted.objectives.push_back(session.objective(control));
  }
  auto result = session.result();
  const auto read = [&](const char* name, std::vector<T>& to) {
    if (result.count(name) == 0) return;
    const auto values = result.at(name).template as<T>();
    to.assign(values.begin(), values.end());
  };
  read("weights", fitted.weights);
  read("intercept", fitted.intercept);
  read("dual", fitted.dual);
  return fitted;
}

inline steppe::MultinomialLogisticParams params_for(std::size_t n_classes, double total_weight) {
  steppe::MultinomialLogisticParams params;
  params.alpha = 1e-2;
  params.n_classes = static_cast<std::uint32_t>(n_classes);
  params.total_weight = total_weight;
  params.seed = 11;
  return params;
}

template <class T>
MultinomialFitted<T> fit_alone(const SoftmaxCase<T>& data, const steppe::MultinomialLogisticParams& params,
                               std::uint32_t rounds) {
  steppe::LocalLink link;
  return advance<T>(*steppe::make_multinomial_logistic_session(params, rows_of(data, 0, data.n_rows), link), rounds);
}

// Ranks hold the rows between `bounds`; the result is rank 0's.
template <class T>
MultinomialFitted<T> fit_on_ranks(const SoftmaxCase<T>& data, const steppe::MultinomialLogisticParams& params,
                                  const std::vector<std::size_t>& bounds, std::uint32_t rounds) {
  const auto n_ranks = static_cast<std::uint32_t>(bounds.size() - 1);
  std::vector<MultinomialFitted<T>> all(n_ranks);
  on_ranks(n_ranks, [&](std::uint32_t rank, steppe::Link& link) {
    all[rank] = advance<T>(
        *steppe::make_multinomial_logistic_session(params, rows_of(data, bounds[rank], bounds[rank + 1]), link),
        rounds);
  });
  for (const auto& fitted : all) {
    if (fitted.weights != all[0].weights || fitted.objectives != all[0].objectives)
      throw std::logic_error("ranks differ");
  }
  return all[0];
}

// The objective by the definition.
template <class T>
double plain_objective(const SoftmaxCase<T>& data, double alpha, const MultinomialFitted<T>& fitted) {
  double loss = 0, norm = 0;
  for (std::size_t i = 0; i < data.n_rows; ++i) {
    const auto u = data.scores(i, fitted.weights.data(), data.n_classes, fitted.intercept.data());
    loss += double{data.weights[i]} * (log_sum_exp(u) - u[static_cast<std::size_t>(data.labels[i])]);
  }
  for (const T weight : fitted.weights) norm += double{weight} * double{weight};
  return alpha / 2 * norm + loss / data.total_weight();
}
