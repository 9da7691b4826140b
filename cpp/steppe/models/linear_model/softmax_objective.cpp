#include "steppe/models/linear_model/softmax_objective.hpp"

#include <algorithm>
#include <cstring>

#include "steppe/comm/wire.hpp"
#include "steppe/kernels/softmax_fold.hpp"

namespace steppe {
namespace {

constexpr std::size_t kResidualBytes = std::size_t{64} << 20;
constexpr std::size_t kRowPiece = 64, kFeaturePiece = 256;
constexpr std::size_t kMessageValues = std::size_t{1} << 20;

}  // namespace

template <class T>
SoftmaxObjective<T>::SoftmaxObjective(LabelledRows<T> rows, std::uint32_t n_classes, double alpha, bool fit_intercept,
                                      double total_weight, Link& link, Team& team)
    : rows_(rows), n_classes_(n_classes), alpha_(alpha), fit_intercept_(fit_intercept), n_features_(rows.x.cols()),
      lanes_(padded<T>(n_classes)), link_(link), team_(team) {
  for (const T weight : rows.weights) weight_.push_back(static_cast<T>(double{weight} / total_weight));
  const std::size_t most = std::max<std::size_t>(kResidualBytes / (lanes_ * sizeof(T)), kRowPiece);
  for (std::size_t first = 0; first < rows.size(); first += most) {
    chunks_.push_back(make_chunk(first, std::min(rows.size(), first + most)));
  }
  residual_.assign(std::min(most, rows.size()) * lanes_, T{0});
}

template <class T>
typename SoftmaxObjective<T>::Chunk SoftmaxObjective<T>::make_chunk(std::size_t first, std::size_t last) const {
  Chunk chunk{
      .first = first, .last = last, .offsets = std::vector<std::int64_t>(n_rows() + 1), .indices = {}, .values = {}};
  for (std::size_t i = first; i < last; ++i) {
    for (const std::int32_t j : rows_.x.row(i).indices) ++chunk.offsets[static_cast<std::size_t>(j) + 1];
  }
  if (fit_intercept_) chunk.offsets.back() = static_cast<std::int64_t>(last - first);
  for (std::size_t j = 0; j < n_rows(); ++j) chunk.offsets[j + 1] += chunk.offsets[j];
  chunk.indices.resize(static_cast<std::size_t>(chunk.offsets.back()));
  chunk.values.resize(chunk.indices.size());
  std::vector<std::int64_t> end(chunk.offsets.begin(), chunk.offsets.end() - 1);
  const auto put = [&](std::size_t column, std::size_t i, T value) {
    const auto place = static_cast<std::size_t>(end[column]++);
    chunk.indices[place] = static_cast<std::int32_t>(i - first);
    chunk.values[place] = value;
  };
  for (std::size_t i = first; i < last; ++i) {
    const SparseRow<T> x = rows_.x.row(i);
    for (std::size_t e = 0; e < x.size(); ++e) put(static_cast<std::size_t>(x.indices[e]), i, x.values[e]);
    if (fit_intercept_) put(n_features_, i, T{1});
  }
  return chunk;
}

template <class T>
std::vector<T> SoftmaxObjective<T>::inverse_curvature() {
  std::vector<double> square(n_rows());
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const SparseRow<T> x = rows_.x.row(i);
    for (std::size_t e = 0; e < x.size(); ++e) {
      square[static_cast<std::size_t>(x.indices[e])] += double{weight_[i]} * double{x.values[e]} * double{x.values[e]};
    }
    if (fit_intercept_) square[n_features_] += double{weight_[i]};
  }
  sum_over_ranks(link_, square);
  const double p = 1.0 / n_classes_;
  std::vector<T> inverse;
  for (std::size_t j = 0; j < square.size(); ++j) {
    const double curvature = (j < n_features_ ? alpha_ : 0.0) + p * (1 - p) * square[j];
    inverse.push_back(curvature > 0 ? static_cast<T>(1 / curvature) : T{1});
  }
  return inverse;
}

// The penalty and its gradient, which the first rank gives for all; the others begin with zero. Like add_chunk, true if
// a stop was asked for.
template <class T>
bool SoftmaxObjective<T>::start_with_penalty(std::span<const T> parameters, std::span<T> gradient, double& value,
                                             Pacer& pacer) {
  const double alpha = link_.rank() == 0 ? alpha_ : 0;
  std::vector<double> parts((n_rows() + kFeaturePiece - 1) / kFeaturePiece);
  const bool stop = team_.parallel_for(parts.size(), 1, pacer, [&](std::size_t piece, std::size_t end, std::uint32_t) {
    for (; piece < end; ++piece) {
      const std::size_t first = piece * kFeaturePiece, last = std::min(n_rows(), first + kFeaturePiece);
      const std::size_t penalised = std::min(last, n_features_) * lanes_;
      double norm = 0;
#pragma omp simd reduction(+ : norm)
      for (std::size_t e = first * lanes_; e < penalised; ++e) {
        gradient[e] = static_cast<T>(alpha) * parameters[e];
        norm += double{parameters[e]} * double{parameters[e]};
      }
      if (last > n_features_) std::ranges::fill(gradient.subspan(penalised), T{0});
      parts[piece] = norm;
    }
  });
  for (const double part : parts) value += alpha / 2 * part;
  return stop;
}

template <class T>
bool SoftmaxObjective<T>::add_chunk(const Chunk& chunk, std::span<const T> parameters, std::span<T> gradient,
                                    double& value, Pacer& pacer) {
  const kernels::ScoreBlock<T> block{.weights = parameters.data(),
                                     .intercept = fit_intercept_ ? parameters.data() + n_features_ * lanes_ : nullptr,
                                     .lanes = lanes_,
                                     .n_classes = n_classes_};
  const std::size_t n = chunk.last - chunk.first;
  std::vector<double> parts((n + kRowPiece - 1) / kRowPiece);
  const auto make_residuals = [&](std::size_t begin, std::size_t end, std::uint32_t) {
    for (std::size_t piece = begin; piece < end; ++piece) {
      const std::size_t from = piece * kRowPiece, to = std::min(n, from + kRowPiece);
      const std::size_t first = chunk.first + from;
      parts[piece] = kernels::softmax_residual(
          rows_.x.rows_between(first, chunk.first + to), rows_.labels.subspan(first, to - from),
          std::span<const T>(weight_).subspan(first, to - from), block, residual_.data() + from * lanes_);
    }
  };
  if (team_.parallel_for(parts.size(), 1, pacer, make_residuals)) return true;
  for (const double part : parts) value += part;
  const kernels::RowsView<T> columns(CsrView<T>(chunk.offsets, chunk.indices, chunk.values, n));
  return team_.parallel_for(n_rows(), kFeaturePiece, pacer, [&](std::size_t begin, std::size_t end, std::uint32_t) {
    kernels::add_gradient(columns, begin, end, residual_.data(), lanes_, gradient.data());
  });
}

// In pieces, so that no rank holds more than a piece of the others' gradients. Returns whether any rank wants to stop.
template <class T>
bool SoftmaxObjective<T>::sum_over_ranks_of(std::span<T> gradient, double& value, bool stop) {
  std::vector<double> totals{value, stop ? 1.0 : 0.0};
  sum_over_ranks(link_, totals);
  value = totals[0];
  if (totals[1] > 0) return true;
  for (std::size_t from = 0; link_.size() > 1 && from < gradient.size(); from += kMessageValues) {
    const auto mine = gradient.subspan(from, std::min(kMessageValues, gradient.size() - from));
    const auto* bytes = reinterpret_cast<const std::byte*>(mine.data());
    const auto all = link_.allgather(Bytes(bytes, bytes + mine.size_bytes()));
    std::fill(mine.begin(), mine.end(), T{0});
    for (const Bytes& theirs : all) {
      invariant(theirs.size() == mine.size_bytes(), "the ranks disagree on the size of the model");
      const auto* values = reinterpret_cast<const T*>(theirs.data());
      for (std::size_t e = 0; e < mine.size(); ++e) mine[e] += values[e];
    }
  }
  return false;
}

template <class T>
std::optional<double> SoftmaxObjective<T>::operator()(std::span<const T> parameters, std::span<T> gradient,
                                                      Pacer& pacer) {
  double value = 0;
  bool stop = start_with_penalty(parameters, gradient, value, pacer);
  for (std::size_t i = 0; i < chunks_.size() && !stop; ++i) {
    stop = add_chunk(chunks_[i], parameters, gradient, value, pacer);
  }
  if (sum_over_ranks_of(gradient, value, stop)) return std::nullopt;
  return value;
}

template class SoftmaxObjective<float>;
template class SoftmaxObjective<double>;

}  // namespace steppe
