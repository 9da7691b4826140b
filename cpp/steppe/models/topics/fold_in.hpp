#pragma once

#include <cstdint>
#include <span>

#include "steppe/core/views.hpp"

namespace steppe {

// A model to fold documents into. The views need only last for a call.
struct FoldInOptions {
  std::span<const double> doc_topic_prior;  // alpha, by topic
  std::uint32_t max_iter = 100;
  double tol = 1e-3;  // a document is done when its counts by topic move by less than this on average
  std::uint32_t n_threads = 1;
};

// Parameters gamma = alpha + counts of the topics of each document (documents x topics), lambda (topics x words) being
// held: by mean field, gamma_d = alpha + sum_v count z with z ~ exp(digamma(gamma_d) + E[log p(v | topic)]), or by
// z ~ gamma_d lambda_v / total, whose limit is the one maximum of
// sum_v count log(theta . phi_v) + alpha . log theta. Both start from equal counts.
template <class T>
void fold_in_topics(CsrView<T> documents, MatrixView<const T> lambda, bool mean_field, const FoldInOptions& options,
                    MatrixView<T> gamma);

// Document completion. The tokens of each document, in the order of words, go in turn to an observed and to an
// evaluated half. With theta folded in from the observed half (the second way) and phi = lambda / total, for each
// document the sum over the evaluated half of log(theta . phi_v), and the number of its tokens.
template <class T>
void complete_documents(CsrView<T> documents, MatrixView<const T> lambda, const FoldInOptions& options,
                        std::span<double> log_likelihood, std::span<double> n_tokens);

}  // namespace steppe
