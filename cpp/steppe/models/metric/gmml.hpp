#pragma once

#include <memory>
#include <span>

#include "steppe/comm/link.hpp"
#include "steppe/models/fit_session.hpp"
#include "steppe/models/metric/differences.hpp"

namespace steppe {

// The point at t on the geodesic from S^-1 (t = 0) to D (t = 1) of positive definite matrices, as components W with
// W' W = S^-1 #_t D: S = L L', L' D L = V diag(values) V', W = diag(values^(t/2)) V' L^-1. Reads the lower triangles of
// S and D (n x n, n that of `values`); both are used up: the first becomes W. `values` are the squared stretches
// between S^-1 and D. Throws InvalidArgument if S or D is not positive definite.
void geometric_mean(AlignedVector<double>& s, AlignedVector<double>& d, double t, std::span<double> values);
// The same on the threads of a team; throws Stopped if a stop is asked for.
void geometric_mean(AlignedVector<double>& s, AlignedVector<double>& d, double t, std::span<double> values, Team& team,
                    Pacer* pacer);

struct GmmlParams {
  double t = 0.5;
  double reg = 1e-3;
  std::uint32_t n_threads = 1;
};

template <class T>
struct GmmlData {
  PointPairs<T> points;            // its prior is not used
  std::span<const double> sign;    // (C,): +1 similar, -1 dissimilar
  MatrixView<const double> prior;  // A0 and its inverse (d, d), or empty for the identity
  MatrixView<const double> prior_inverse;
};

// Geometric mean metric learning (Zadeh, Hosseini, Sra, ICML 2016): with S the mean of z z' over similar pairs plus
// reg A0^-1, and D that over dissimilar pairs plus reg A0, the metric A = S^-1 #_t D, which minimises
//   (1 - t) delta(A, S^-1)^2 + t delta(A, D)^2,   delta the Riemannian distance: the session's objective.
// One round does it all; without it the result is empty. Result as of ITML, with "scale": the metric outside the span
// of the differences.
template <class T>
std::unique_ptr<FitSession> make_gmml_session(const GmmlParams& params, const GmmlData<T>& data, Link& link);

}  // namespace steppe
