#include "steppe/models/topics/fold_in.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "steppe/core/aligned.hpp"
#include "steppe/core/errors.hpp"
#include "steppe/kernels/gamma_functions.hpp"
#include "steppe/kernels/topic_fold.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe {
namespace {

constexpr std::size_t kPiece = 16;  // documents

// What is held while documents are folded in: alpha, and a row of topics for each word, padded.
template <class T>
struct Topics {
  bool mean_field;
  std::size_t n_topics, stride;
  AlignedVector<T> alpha, words;

  Topics(MatrixView<const T> lambda, bool by_mean_field, const FoldInOptions& options, Team& team)
      : mean_field(by_mean_field), n_topics(lambda.rows()), stride(padded<T>(n_topics)), alpha(stride),
        words(lambda.cols() * stride) {
    require(options.doc_topic_prior.size() == n_topics, "doc_topic_prior: give one number for each topic");
    std::ranges::copy(options.doc_topic_prior, alpha.begin());
    std::vector<T> scale(n_topics);
    team.parallel_for(n_topics, 1, [&](std::size_t begin, std::size_t end, std::uint32_t) {
      for (std::size_t k = begin; k < end; ++k) {
        double total = 0;
        for (const T value : lambda.row(k)) total += static_cast<double>(value);
        const double weight = mean_field ? kernels::exp_digamma(total) : total;
        scale[k] = static_cast<T>(1 / std::max(weight, static_cast<double>(std::numeric_limits<T>::min())));
      }
    });
    team.parallel_for(lambda.cols(), 256, [&](std::size_t begin, std::size_t end, std::uint32_t) {
      for (std::size_t k = 0; k < n_topics; ++k) {
        for (std::size_t v = begin; v < end; ++v) words[v * stride + k] = lambda(k, v);
      }
      for (std::size_t v = begin; v < end; ++v) {
        const auto row = std::span(words).subspan(v * stride, n_topics);
        if (mean_field) kernels::exp_digamma(row, row.data());
        for (std::size_t k = 0; k < n_topics; ++k) row[k] *= scale[k];
      }
    });
  }
};

template <class T>
struct Folder {
  const Topics<T>& topics;
  const FoldInOptions& options;
  AlignedVector<T> counts, next, theta;

  Folder(const Topics<T>& model, const FoldInOptions& fold)
      : topics(model), options(fold), counts(model.stride), next(model.stride), theta(model.stride) {}

  // Leaves gamma - alpha in counts.
  void operator()(const SparseRow<T>& words) {
    double n_tokens = 0;
    for (const T count : words.values) n_tokens += static_cast<double>(count);
    std::fill_n(counts.begin(), topics.n_topics, static_cast<T>(n_tokens / static_cast<double>(topics.n_topics)));
    if (n_tokens == 0) return;
    for (std::uint32_t iteration = 0; iteration < options.max_iter; ++iteration) {
      for (std::size_t k = 0; k < topics.stride; ++k) theta[k] = topics.alpha[k] + counts[k];
      if (topics.mean_field) kernels::exp_digamma(theta, theta.data());
      kernels::fold_document(words, topics.words.data(), topics.stride, theta.data(), next.data());
      double moved = 0;
      for (std::size_t k = 0; k < topics.n_topics; ++k) moved += std::abs(static_cast<double>(next[k] - counts[k]));
      std::swap(counts, next);
      if (moved < options.tol * static_cast<double>(topics.n_topics)) break;
    }
  }
};

// How many of the first `tokens` tokens are observed: every second one, from the first.
double observed_of(double tokens) {
  const double pairs = std::floor(tokens / 2);
  return pairs + std::min(tokens - 2 * pairs, 1.0);
}

// A document in two halves.
template <class T>
struct Halves {
  std::vector<std::int32_t> words;
  std::vector<T> observed, evaluated;
  double n_evaluated = 0;

  explicit Halves(const SparseRow<T>& document) : words(document.indices.begin(), document.indices.end()) {
    double before = 0;
    for (const T count : document.values) {
      const double after = before + static_cast<double>(count);
      observed.push_back(static_cast<T>(observed_of(after) - observed_of(before)));
      evaluated.push_back(count - observed.back());
      n_evaluated += static_cast<double>(evaluated.back());
      before = after;
    }
  }
};

template <class T>
double evaluate(const Topics<T>& topics, const Folder<T>& folder, const Halves<T>& halves) {
  double total = 0, sum = 0;
  for (std::size_t k = 0; k < topics.n_topics; ++k) total += static_cast<double>(topics.alpha[k] + folder.counts[k]);
  for (std::size_t n = 0; n < halves.words.size(); ++n) {
    if (halves.evaluated[n] == T(0)) continue;
    const T* const row = topics.words.data() + static_cast<std::size_t>(halves.words[n]) * topics.stride;
    double p = 0;
    for (std::size_t k = 0; k < topics.n_topics; ++k) {
      p += static_cast<double>(topics.alpha[k] + folder.counts[k]) * static_cast<double>(row[k]);
    }
    sum += static_cast<double>(halves.evaluated[n]) * std::log(p / total);
  }
  return sum;
}

}  // namespace

template <class T>
void fold_in_topics(CsrView<T> documents, MatrixView<const T> lambda, bool mean_field, const FoldInOptions& options,
                    MatrixView<T> gamma) {
  Team team(options.n_threads);
  const Topics<T> topics(lambda, mean_field, options, team);
  std::vector<Folder<T>> folders(options.n_threads, Folder<T>(topics, options));
  team.parallel_for(documents.rows(), kPiece, [&](std::size_t begin, std::size_t end, std::uint32_t member) {
    Folder<T>& folder = folders[member];
    for (std::size_t d = begin; d < end; ++d) {
      folder(documents.row(d));
      for (std::size_t k = 0; k < topics.n_topics; ++k) gamma(d, k) = topics.alpha[k] + folder.counts[k];
    }
  });
}

template <class T>
void complete_documents(CsrView<T> documents, MatrixView<const T> lambda, const FoldInOptions& options,
                        std::span<double> log_likelihood, std::span<double> n_tokens) {
  Team team(options.n_threads);
  const Topics<T> topics(lambda, false, options, team);
  std::vector<Folder<T>> folders(options.n_threads, Folder<T>(topics, options));
  team.parallel_for(documents.rows(), kPiece, [&](std::size_t begin, std::size_t end, std::uint32_t member) {
    for (std::size_t d = begin; d < end; ++d) {
      const Halves<T> halves(documents.row(d));
      folders[member]({halves.words, halves.observed});
      n_tokens[d] = halves.n_evaluated;
      log_likelihood[d] = evaluate(topics, folders[member], halves);
    }
  });
}

template void fold_in_topics(CsrView<float>, MatrixView<const float>, bool, const FoldInOptions&, MatrixView<float>);
template void fold_in_topics(CsrView<double>, MatrixView<const double>, bool, const FoldInOptions&, MatrixView<double>);
template void complete_documents(CsrView<float>, MatrixView<const float>, const FoldInOptions&, std::span<double>,
                                 std::span<double>);
template void complete_documents(CsrView<double>, MatrixView<const double>, const FoldInOptions&, std::span<double>,
                                 std::span<double>);

}  // namespace steppe
