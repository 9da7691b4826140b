#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "steppe/comm/link.hpp"
#include "steppe/models/fit_session.hpp"
#include "steppe/models/ot/transport_dual.hpp"

namespace steppe {

struct SemiDiscreteParams {
  bool squared = true;
  double reg = 0;
  double tol = 0;                // of the mass error; its square bounds the relative gap
  std::uint64_t batch_rows = 0;  // of all ranks, in the first stage; 0: enough for the masses to mean something
  std::uint32_t n_threads = 1;
  bool on_device = false;  // rows travel there; sums over cells are made there
};

// Views: the caller keeps the memory alive as long as the session.
template <class T>
struct SemiDiscreteData {
  std::vector<WeightedPoints<T>> measures;  // this rank's part of each
  std::vector<double> measure_weights;      // lambda, equal on all ranks; they sum to 1
  MatrixView<const T> sites;
  std::span<const double> site_weights;  // p, positive, sums to 1; empty: free
  std::span<const double> start;         // potentials (measures x sites), or empty
  double start_reg = 0;                  // what the start was annealed to; 0 if unknown
};

// Semi-discrete optimal transport from measures to weighted sites, by ascent of the concave dual
//   F(phi) = p . phi + sum_k lambda_k E_k min_j (c(x, y_j) - phi_j)
// with the soft minimum where reg > 0. With free weights each measure has a potential phi_k, sum_k lambda_k phi_k = 0
// replaces p . phi, and the common masses are the weights of the barycentre on these sites; for one measure that
// leaves phi = 0 and the votes of nearest sites.
//
// A round is a stage: quasi-Newton steps on the entropic dual at one regularisation, over rows that a stride picks,
// then the exact value, masses and gap over all rows. From stage to stage the regularisation falls and the rows grow.
// One sum over ranks of the masses for each evaluation.
//
// result(): "potential" (measures x sites), "votes" (sites), "gradient" (sites x features), all of type T, and
// "cost", "mass_error", "dual_gap", "annealed_to". The session is fitted as in FitSession; objective() is minus the
// dual. Collective. The link outlives the session.
std::unique_ptr<FitSession> make_semi_discrete_session(const SemiDiscreteParams& params,
                                                       const SemiDiscreteData<float>& data, Link& link);
std::unique_ptr<FitSession> make_semi_discrete_session(const SemiDiscreteParams& params,
                                                       const SemiDiscreteData<double>& data, Link& link);

}  // namespace steppe
