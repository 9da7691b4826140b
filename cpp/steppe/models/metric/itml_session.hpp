#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "steppe/comm/link.hpp"
#include "steppe/models/fit_session.hpp"
#include "steppe/models/metric/differences.hpp"

namespace steppe {

enum class ItmlForm { dense, span, products };

struct ItmlParams {
  double gamma = 1;  // price of slack; infinity for none
  bool in_parallel = false;
  std::string form = "auto";  // or "dense", "span", "products"
  std::size_t block = 0;      // constraints of a block; 0: by the size of the matrix
  std::uint32_t n_threads = 1;
};

// The arrays are the same on every rank and outlive the session.
template <class T>
struct ItmlData {
  PointPairs<T> points;
  std::span<const double> sign;        // (C,): +1 similar, -1 dissimilar
  std::span<const double> target;      // (C,): squared distances to reach, > 0
  std::span<const double> start_dual;  // (C,) or empty
};

// The form that takes the fewest operations; dense only up to kDenseFeatures.
ItmlForm choose_itml_form(std::size_t n_points, std::size_t n_pairs, std::size_t n_features);

// Information-theoretic metric learning (Davis, Kulis, Jain, Sra, Dhillon, ICML 2007):
//   min over A, xi of  tr(A A0^-1) - log det(A A0^-1) - d + gamma sum_k (xi_k/t_k - log(xi_k/t_k) - 1)
//   so that sign_k (c_k' A c_k - xi_k) <= 0,   t_k the target,
// by cyclic coordinate ascent on its dual
//   g(lambda) = log det(I + Z' diag(sign lambda) Z) + gamma sum_k log(1 - sign_k lambda_k t_k / gamma),
// a round being one sweep over all constraints. The session's objective is -g. Result: "components", or
// "basis" and "eigenvalues" (metric_factors.hpp), "dual" (C,), and "gap", the duality gap after each round or nan.
template <class T>
std::unique_ptr<FitSession> make_itml_session(const ItmlParams& params, const ItmlData<T>& data, Link& link);

}  // namespace steppe
