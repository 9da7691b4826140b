#pragma once

#include <cstddef>
#include <span>

#include "steppe/core/views.hpp"

namespace steppe::kernels {

// A block of b rank-one updates of a positive definite matrix A, made one after the other although A is touched once.
//
// Update k adds beta_k (A_k c_k)(A_k c_k)', where A_k holds the updates before it. With V = A C_B and S = C_B' V
// (b x b) all that depends on the order happens inside S:
//   S_k = the current C_B' A_k C_B;  p = S_k[k,k];  S_{k+1} = S_k + beta_k S_k[:,k] S_k[k,:]
// and in the end A + V M V' is the updated matrix, M = N^-1 diag(beta) N^-T with the unit upper triangular
// N[k,l] = -beta_k S_k[k,l]: A_k c_k is column k of V N^-1. (ALGORITHMS: blocked ITML.)

// The constraints of a block. `dual` (lambda) is what ITML changes; the slack target follows from it,
// 1/xi = 1/target - sign dual / gamma.
struct BlockConstraints {
  std::span<const double> sign;    // +1 similar, -1 dissimilar
  std::span<const double> target;  // squared distance to reach, > 0
  std::span<double> dual;
  double gamma;  // price of slack; infinity for none
};

// What the updates of one block did.
struct BlockChange {
  double log_det = 0;        // added to log det A
  double dual = 0;           // sum of |change of dual|
  std::size_t left_out = 0;  // updates that rounding forbids: A would not stay positive definite
};

// One cycle of Bregman projections (Davis et al., ICML 2007). S in its upper triangle; leaves N there and beta. What is
// left out, because c'Ac is nothing but rounding or would grow more than 1e10 times at once, changes neither A nor
// dual.
BlockChange project_in_turn(MatrixView<double> s, const BlockConstraints& constraints, std::span<double> beta);

// The updates A^-1 -= step_k c_k c_k', given. The beta of one that is left out is 0.
BlockChange apply_in_turn(MatrixView<double> s, std::span<const double> step, std::span<double> beta);

// The step, sign times alpha, by which a projection moves A^-1 when c'Ac = p; dual is left as it is.
double projection_step(double p, double sign, double target, double dual, double gamma);

// Whether project_in_turn would make that step, rather than leave it out.
bool projects(double p, double step);

}  // namespace steppe::kernels
