#include "steppe/models/linear_model/lbfgs.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace steppe {
namespace {

constexpr double kSufficientDecrease = 1e-4;
constexpr int kMostTrials = 30;

template <class T>
double dot_of(const T* a, const T* b, std::size_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t e = 0; e < n; ++e) sum += static_cast<double>(a[e]) * static_cast<double>(b[e]);
  return sum;
}

template <class Vector>
Array array_of(const Vector& values) {
  return Array::copy_of(std::span<const typename Vector::value_type>(values));
}

}  // namespace

template <class T>
Lbfgs<T>::Lbfgs(Vector start, std::vector<T> inverse_curvature, std::size_t stride, Function function, Agree agree,
                Team& team)
    : inverse_curvature_(std::move(inverse_curvature)), stride_(stride),
      rows_per_piece_(std::max<std::size_t>(65536 / stride, 1)), function_(std::move(function)),
      agree_(std::move(agree)), team_(team), point_(std::move(start)), gradient_(point_.size()),
      direction_(point_.size()), next_point_(point_.size()), next_gradient_(point_.size()) {}

template <class T>
template <class Body>
void Lbfgs<T>::over_rows(Body&& body) {
  team_.parallel_for(inverse_curvature_.size(), rows_per_piece_, *pacer_,
                     [&](std::size_t begin, std::size_t end, std::uint32_t) { body(begin, end); });
}

// body(first row, last row) of each piece, added up in order.
template <class T>
template <class Body>
double Lbfgs<T>::sum_over_rows(Body&& body) {
  const std::size_t rows = inverse_curvature_.size();
  std::vector<double> parts((rows + rows_per_piece_ - 1) / rows_per_piece_);
  team_.parallel_for(parts.size(), 1, *pacer_, [&](std::size_t begin, std::size_t end, std::uint32_t) {
    for (std::size_t piece = begin; piece < end; ++piece) {
      parts[piece] = body(piece * rows_per_piece_, std::min(rows, (piece + 1) * rows_per_piece_));
    }
  });
  double sum = 0;
  for (const double part : parts) sum += part;
  return sum;
}

template <class T>
double Lbfgs<T>::dot(std::span<const T> a, std::span<const T> b) {
  return sum_over_rows([&](std::size_t begin, std::size_t end) {
    return dot_of(a.data() + begin * stride_, b.data() + begin * stride_, (end - begin) * stride_);
  });
}

template <class T>
double Lbfgs<T>::scaled_dot(std::span<const T> a) {
  return sum_over_rows([&](std::size_t begin, std::size_t end) {
    double sum = 0;
    for (std::size_t j = begin; j < end; ++j) {
      sum += double{inverse_curvature_[j]} * dot_of(a.data() + j * stride_, a.data() + j * stride_, stride_);
    }
    return sum;
  });
}

template <class T>
void Lbfgs<T>::add_scaled(double factor, std::span<const T> a, std::span<T> to) {
  const T scale = static_cast<T>(factor);
  over_rows([&](std::size_t begin, std::size_t end) {
#pragma omp simd
    for (std::size_t e = begin * stride_; e < end * stride_; ++e) to[e] += scale * a[e];
  });
}

// direction = -H gradient by the two loops.
template <class T>
void Lbfgs<T>::find_direction() {
  over_rows([&](std::size_t begin, std::size_t end) {
    for (std::size_t e = begin * stride_; e < end * stride_; ++e) direction_[e] = -gradient_[e];
  });
  std::vector<double> taken(pairs_.size());
  for (std::size_t i = pairs_.size(); i-- > 0;) {
    taken[i] = dot(pairs_[i].move, direction_) / pairs_[i].inner;
    add_scaled(-taken[i], pairs_[i].change, direction_);
  }
  const double scale = pairs_.empty() ? 1.0 : pairs_.back().inner / scaled_dot(pairs_.back().change);
  over_rows([&](std::size_t begin, std::size_t end) {
    for (std::size_t j = begin; j < end; ++j) {
      const T factor = static_cast<T>(scale) * inverse_curvature_[j];
      for (std::size_t c = 0; c < stride_; ++c) direction_[j * stride_ + c] *= factor;
    }
  });
  for (std::size_t i = 0; i < pairs_.size(); ++i) {
    const double back = dot(pairs_[i].change, direction_) / pairs_[i].inner;
    add_scaled(taken[i] - back, pairs_[i].move, direction_);
  }
}

// The pair of the step just made, `length` times the direction; false where rounding spoils it.
template <class T>
bool Lbfgs<T>::remember(std::span<const T> old_gradient, double length) {
  Pair pair;
  if (pairs_.size() == kMemory) {
    pair = std::move(pairs_.front());
    pairs_.pop_front();
  }
  pair.move.resize(point_.size());
  pair.change.resize(point_.size());
  const T scale = static_cast<T>(length);
  over_rows([&](std::size_t begin, std::size_t end) {
    for (std::size_t e = begin * stride_; e < end * stride_; ++e) {
      pair.move[e] = scale * direction_[e];
      pair.change[e] = gradient_[e] - old_gradient[e];
    }
  });
  pair.inner = dot(pair.move, pair.change);
  const double size = std::sqrt(dot(pair.move, pair.move) * dot(pair.change, pair.change));
  if (!(pair.inner > double{std::numeric_limits<T>::epsilon()} * size)) return false;
  pairs_.push_back(std::move(pair));
  return true;
}

template <class T>
bool Lbfgs<T>::evaluate() {
  if (!value_) value_ = function_(point_, gradient_, *pacer_);
  return value_.has_value();
}

template <class T>
std::optional<double> Lbfgs<T>::value(Control& control) {
  pacer_.emplace(control);
  evaluate();
  return value_;
}

template <class T>
typename Lbfgs<T>::Outcome Lbfgs<T>::step(Control& control) {
  pacer_.emplace(control);
  const Outcome outcome = try_step();
  if (outcome == Outcome::stopped) pairs_.clear();  // the last one may be half made
  return outcome;
}

template <class T>
typename Lbfgs<T>::Outcome Lbfgs<T>::try_step() {
  if (!evaluate()) return Outcome::stopped;
  find_direction();
  double slope = dot(gradient_, direction_);
  if (stops()) return Outcome::stopped;
  if (!(slope < 0) && !pairs_.empty()) {
    pairs_.clear();
    return try_step();
  }
  const double blur = double{std::numeric_limits<T>::epsilon()} * std::abs(*value_);
  double length = 1;
  for (int trial = 0; slope < 0 && trial < kMostTrials; ++trial) {
    over_rows([&](std::size_t begin, std::size_t end) {
      const T scale = static_cast<T>(length);
      for (std::size_t e = begin * stride_; e < end * stride_; ++e) next_point_[e] = point_[e] + scale * direction_[e];
    });
    if (stops()) return Outcome::stopped;
    const auto next = function_(next_point_, next_gradient_, *pacer_);
    if (!next) return Outcome::stopped;
    if (*next <= *value_ + kSufficientDecrease * length * slope + blur) {
      const bool moves = *next < *value_;
      std::swap(point_, next_point_);
      std::swap(gradient_, next_gradient_);
      value_ = next;
      const bool bends = remember(next_gradient_, length);
      if (stops()) return Outcome::stopped;
      return bends || moves ? Outcome::moved : Outcome::settled;
    }
    const double bend = 2 * (*next - *value_ - length * slope);
    const double wanted = -slope * length * length / bend;
    length = std::isfinite(wanted) ? std::clamp(wanted, 0.1 * length, 0.5 * length) : 0.1 * length;
  }
  if (pairs_.empty()) return Outcome::settled;
  pairs_.clear();
  return try_step();
}

template <class T>
void Lbfgs<T>::save(ArrayMap& state) const {
  state["point"] = array_of(point_);
  state["gradient"] = value_ ? array_of(gradient_) : Array::zeros<T>({gradient_.size()});
  state["value"] = Array::copy_of(std::span<const double>(value_ ? &*value_ : nullptr, value_ ? 1 : 0));
  state["n_pairs"] = Array::scalar(static_cast<std::uint32_t>(pairs_.size()));
  for (std::size_t i = 0; i < pairs_.size(); ++i) {
    state["move" + std::to_string(i)] = array_of(pairs_[i].move);
    state["change" + std::to_string(i)] = array_of(pairs_[i].change);
    state["inner" + std::to_string(i)] = Array::scalar(pairs_[i].inner);
  }
}

template <class T>
void Lbfgs<T>::restore(const ArrayMap& state) {
  const auto read = [&](const std::string& name, Vector& to) {
    const auto values = at(state, name).template as<T>();
    require(values.size() == point_.size(), "state: it was written by a fit of another shape");
    to.assign(values.begin(), values.end());
  };
  read("point", point_);
  read("gradient", gradient_);
  const auto value = at(state, "value").template as<double>();
  value_ = value.empty() ? std::nullopt : std::optional(value[0]);
  pairs_.clear();
  for (std::uint32_t i = 0; i < at(state, "n_pairs").template as<std::uint32_t>()[0]; ++i) {
    Pair pair;
    read("move" + std::to_string(i), pair.move);
    read("change" + std::to_string(i), pair.change);
    pair.inner = at(state, "inner" + std::to_string(i)).template as<double>()[0];
    pairs_.push_back(std::move(pair));
  }
}

template class Lbfgs<float>;
template class Lbfgs<double>;

}  // namespace steppe
