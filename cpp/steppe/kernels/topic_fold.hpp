#pragma once

#include <cstddef>

#include "steppe/core/views.hpp"

namespace steppe::kernels {

// One step of folding a document into a model: with theta the weights of its topics and row v of `topics` those of word
// v (`stride` numbers each, padded with zeros),
//
//   counts[k] = theta[k] sum_v count_v topics[v][k] / sum_l theta[l] topics[v][l]
//
// Words to which no topic of the document gives weight are left out.
void fold_document(const SparseRow<float>& words, const float* topics, std::size_t stride, const float* theta,
                   float* counts);
void fold_document(const SparseRow<double>& words, const double* topics, std::size_t stride, const double* theta,
                   double* counts);

}  // namespace steppe::kernels
