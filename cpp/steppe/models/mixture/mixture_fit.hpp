#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "steppe/comm/link.hpp"
#include "steppe/models/fit_session.hpp"
#include "steppe/models/mixture/mixture_problem.hpp"

namespace steppe {

struct MixtureParams {
  std::uint32_t n_components = 1;
  bool full = true;
  double concentration = 1, mean_precision = 1, dof = 1, blur = 1e-6;  // as in MixturePrior
  std::string schedule = "auto";
  std::uint32_t n_threads = 1;
  std::uint32_t n_shards = 0;  // of this rank under bsp; 0: one a thread
  std::uint64_t seed = 0;
  double total_weight = 0;  // of the rows of all ranks
  std::uint64_t batch_rows = 1024;
  double learning_decay = 0.7, learning_offset = 10;  // svi
};

template <class T>
struct MixtureData {
  MixtureRows<T> rows;
  std::span<const T> centre;           // of the data, equal on all ranks
  std::span<const double> mean_prior;  // (n_features)
  std::span<const double> scale;       // V of the prior: (n_features), or its square
  MixtureStart start;
};

// The objective is minus the lower bound of the log evidence, with all of its constants. result(): arrays of T by
// scikit-learn's names without the underscore, "entropy" (n_components) and "lower_bound".
std::unique_ptr<FitSession> make_mixture_session(const MixtureParams& params, MixtureData<float> data, Link& link);
std::unique_ptr<FitSession> make_mixture_session(const MixtureParams& params, MixtureData<double> data, Link& link);

}  // namespace steppe
