#include "steppe/models/ranking/warp.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "steppe/comm/wire.hpp"
#include "steppe/core/rng.hpp"
#include "steppe/kernels/ranking_loss.hpp"

namespace steppe {
namespace {

constexpr std::size_t kParts = 8;  // steps of a round, each with its share of every query's relevant documents
constexpr std::size_t kGrain = 32;

double largest_over_ranks(Link& link, double mine) {
  Bytes bytes;
  WireWriter(bytes).put(mine);
  for (const Bytes& part : link.allgather(std::move(bytes))) mine = std::max(mine, WireReader(part).get<double>());
  return mine;
}

}  // namespace

WarpTrainer::WarpTrainer(const WarpData& data, bool per_query, std::uint64_t seed, Link& link, Team& team)
    : data_(data), per_query_(per_query), seed_(seed), link_(link), team_(team) {
  double largest = 0;
  for (const QueryEntry& entry : data.census.all) {
    total_weight_ += entry.weight;
    if (entry.rank != link.rank()) continue;
    const auto begin = static_cast<std::size_t>(data.offsets[entry.index]);
    const std::size_t n = entry.n_rows;
    const auto lower = data.lower.subspan(begin, n);
    const auto relevant = static_cast<std::size_t>(
        std::find_if(lower.begin(), lower.end(), [](auto l) { return l > 0; }) - lower.begin());
    queries_.push_back({begin, n, relevant, entry.number, entry.weight});
    n_relevant_ += n - relevant;
    longest_ = std::max(longest_, n);
    for (std::size_t i = begin; i < begin + n; ++i) {
      for (const double value : data.features.row(i)) largest = std::max(largest, std::abs(value));
      largest = std::max(largest, data.weight[i]);
    }
  }
  sum_over_ranks(link, std::span(&n_relevant_, 1));
  sums_.resize(longest_ + 1);
  kernels::discount_sums(sums_);
  // A query adds at most 2 kParts largest^2, and 2^31 of them must not overflow 63 bits.
  const double most = std::max(largest_over_ranks(link, largest), 1.0);
  unit_ = 2 * static_cast<double>(kParts) * most * most * 0x1p-31;
  const std::size_t m = data.features.cols();
  phi_.assign(per_query ? queries_.size() * m : m, 1 / static_cast<double>(m));
}

std::span<const double> WarpTrainer::phi_of(std::size_t own) const {
  const std::size_t m = data_.features.cols();
  return std::span(phi_).subspan(per_query_ ? own * m : 0, m);
}

void WarpTrainer::score(const Query& query, std::span<const double> phi, std::span<double> out) const {
  for (std::size_t i = 0; i < query.n; ++i) {
    const auto row = data_.features.row(query.begin + i);
    double sum = 0;
    for (std::size_t r = 0; r < phi.size(); ++r) sum += phi[r] * row[r];
    out[i] = sum;
  }
}

void WarpTrainer::add_gradient(const Query& query, std::size_t part, std::span<const double> phi,
                               std::span<const double> scores, std::span<double> gradient) const {
  Stream stream(seed_, Purpose::sample, query.number, steps_);
  const double share = static_cast<double>(kParts) / static_cast<double>(query.n - query.first_relevant);
  for (std::size_t a = query.first_relevant + (part + query.number) % kParts; a < query.n; a += kParts) {
    const std::uint32_t n_lower = data_.lower[query.begin + a];
    for (std::uint32_t tries = 1; tries <= n_lower; ++tries) {
      const std::uint32_t b = stream.below(n_lower);
      if (1 + scores[b] <= scores[a]) continue;
      const double weight = data_.weight[query.begin + a] * sums_[n_lower / tries] / sums_[n_lower];
      kernels::warp_hinge(phi, data_.features.row(query.begin + a), data_.features.row(query.begin + b), weight * share,
                          1, gradient);
      break;
    }
  }
}

bool WarpTrainer::step(std::size_t part, bool stop) {
  ++steps_;
  const std::size_t m = data_.features.cols();
  const double length = 1 / std::sqrt(static_cast<double>(steps_));
  std::vector<std::vector<std::int64_t>> sums(team_.size(), std::vector<std::int64_t>(m + 1, 0));
  team_.parallel_for(queries_.size(), kGrain, [&](std::size_t begin, std::size_t end, std::uint32_t member) {
    std::vector<double> scores(longest_), gradient(m);
    for (std::size_t q = begin; q < end; ++q) {
      std::fill(gradient.begin(), gradient.end(), 0.0);
      score(queries_[q], phi_of(q), scores);
      add_gradient(queries_[q], part, phi_of(q), scores, gradient);
      for (std::size_t r = 0; r < m; ++r) {
        if (per_query_) {
          double& phi = phi_[q * m + r];
          phi = std::max(phi - length * gradient[r], 0.0);
        } else {
          sums[member][r] += std::llrint(gradient[r] / unit_);
        }
      }
    }
  });
  std::vector<std::uint64_t> whole(m + 1, 0);
  for (const auto& part_sum : sums) {
    for (std::size_t r = 0; r < m; ++r) whole[r] += static_cast<std::uint64_t>(part_sum[r]);
  }
  whole[m] = stop ? 1 : 0;
  if (!per_query_ || part == 0) sum_over_ranks(link_, whole);
  for (std::size_t r = 0; !per_query_ && r < m; ++r) {
    const double gradient = static_cast<double>(static_cast<std::int64_t>(whole[r])) * unit_ / total_weight_;
    phi_[r] = std::max(phi_[r] - length * gradient, 0.0);
  }
  return whole[m] > 0;
}

bool WarpTrainer::round(bool stop) {
  bool stopped = false;
  for (std::size_t part = 0; part < kParts; ++part) stopped |= step(part, stop && part == 0);
  return stopped;
}

double WarpTrainer::query_loss(const Query& query, std::span<const double> scores) const {
  double loss = 0;
  for (std::size_t a = query.first_relevant; a < query.n; ++a) {
    const std::uint32_t n_lower = data_.lower[query.begin + a];
    const auto found = kernels::violators(scores.first(n_lower), scores[a] - 1);
    if (found.count == 0) continue;
    loss += data_.weight[query.begin + a] * sums_[found.count] / sums_[n_lower] * found.excess /
            static_cast<double>(found.count);
  }
  return loss / static_cast<double>(query.n - query.first_relevant) / query.weight;
}

double WarpTrainer::loss() {
  std::vector<double> losses(queries_.size());
  team_.parallel_for(queries_.size(), kGrain, [&](std::size_t begin, std::size_t end, std::uint32_t) {
    std::vector<double> scores(longest_);
    for (std::size_t q = begin; q < end; ++q) {
      score(queries_[q], phi_of(q), scores);
      losses[q] = query_loss(queries_[q], scores);
    }
  });
  return data_.census.mean(losses, link_);
}

std::vector<double> WarpTrainer::mean_phi() {
  if (!per_query_) return phi_;
  const std::size_t m = data_.features.cols();
  std::vector<double> mean(m), one(queries_.size());
  for (std::size_t r = 0; r < m; ++r) {
    for (std::size_t q = 0; q < one.size(); ++q) one[q] = phi_[q * m + r];
    mean[r] = data_.census.mean(one, link_);
  }
  return mean;
}

}  // namespace steppe
