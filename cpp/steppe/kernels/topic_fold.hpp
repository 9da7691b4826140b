#pragma once

#include <cstddef>
#include <span>

#include "steppe/core/views.hpp"

namespace steppe::kernels {

// out[k] = exp(digamma(x[k])), for x >= 0; out may be x.
void exp_digamma(std::span<const float> x, float* out);
void exp_digamma(std::span<const double> x, double* out);

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

// What the document adds to the sums of its words, when theta is settled: to row v of `sums` (`n_topics` numbers each)
//
//   count_v theta[k] topics[v][k] / sum_l theta[l] topics[v][l]
//
// Returns sum_v count_v log sum_l theta[l] topics[v][l], where a sum too small to divide by counts as the least normal
// number.
double add_folded(const SparseRow<float>& words, const float* topics, std::size_t stride, const float* theta,
                  std::size_t n_topics, double* sums);
double add_folded(const SparseRow<double>& words, const double* topics, std::size_t stride, const double* theta,
                  std::size_t n_topics, double* sums);

}  // namespace steppe::kernels
