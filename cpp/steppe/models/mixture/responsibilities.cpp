#include "steppe/models/mixture/responsibilities.hpp"

#include <algorithm>

#include "steppe/core/errors.hpp"

namespace steppe {

template <class T>
std::span<const std::uint32_t> ShareTable<T>::gather(std::span<const std::uint32_t> components) {
  std::fill(mass_.begin(), mass_.end(), T{0});
  for (const std::uint32_t k : components) {
    const List& list = lists_[k];
    for (std::size_t e = 0; e < list.rows.size(); ++e) mass_[list.rows[e]] += list.shares[e];
  }
  active_.clear();
  for (std::size_t i = 0; i < mass_.size(); ++i) {
    if (mass_[i] <= kernels::kNegligibleShare<T>) continue;
    mass_[i] += loose_[i];
    active_.push_back(static_cast<std::uint32_t>(i));
  }
  return active_;
}

template <class T>
void ShareTable<T>::count_loose() {
  std::vector<double> mass(loose_.size());
  for (const List& list : lists_) {
    for (std::size_t e = 0; e < list.rows.size(); ++e) mass[list.rows[e]] += double{list.shares[e]};
  }
  for (std::size_t i = 0; i < mass.size(); ++i) loose_[i] = static_cast<T>(1 - mass[i]);
}

template <class T>
typename ShareTable<T>::Packed ShareTable<T>::packed() const {
  Packed packed;
  for (const List& list : lists_) {
    packed.counts.push_back(static_cast<std::uint32_t>(list.rows.size()));
    packed.rows.insert(packed.rows.end(), list.rows.begin(), list.rows.end());
    packed.shares.insert(packed.shares.end(), list.shares.begin(), list.shares.end());
  }
  return packed;
}

// A cut comes from a file, so rows that are not there are refused.
template <class T>
void ShareTable<T>::unpack(const Packed& packed) {
  std::size_t at = 0;
  for (std::size_t k = 0; k < lists_.size(); ++k) {
    const std::size_t n = packed.counts[k];
    require(at + n <= packed.rows.size() && packed.rows.size() == packed.shares.size(),
            "state: lists of shares end early");
    const auto rows = packed.rows.begin() + std::ptrdiff_t(at);
    const auto shares = packed.shares.begin() + std::ptrdiff_t(at);
    lists_[k].rows.assign(rows, rows + std::ptrdiff_t(n));
    lists_[k].shares.assign(shares, shares + std::ptrdiff_t(n));
    const bool known = std::ranges::all_of(lists_[k].rows, [&](std::uint32_t row) { return row < loose_.size(); });
    require(known, "state: a share belongs to a row that is not there");
    at += n;
  }
}

template <class T>
void ShareScratch<T>::fit(const GaussianPanel<T>& panel) {
  const std::size_t k = panel.size();
  if (counts.size() < k) {
    counts.resize(k);
    list_rows.resize(k * kernels::kMomentRows);
    list_shares.resize(k * kernels::kMomentRows);
    score_scratch.resize(kernels::mixture_scratch<T>(k, panel.n_features()));
  }
  moment_scratch.resize(kernels::moment_scratch(panel.stride()));
}

void move_to_centre(std::span<double> sums, std::span<const double> mean, bool full) {
  const std::size_t d = mean.size();
  const double n = sums[0];
  double* const first = sums.data() + kernels::kFirstMoments;
  double* second = sums.data() + kernels::second_moments(d);
  for (std::size_t i = 0; i < d; ++i) {
    for (std::size_t j = full ? 0 : i; j <= i; ++j) {
      *second++ += first[i] * mean[j] + mean[i] * first[j] + n * mean[i] * mean[j];
    }
  }
  for (std::size_t i = 0; i < d; ++i) first[i] += n * mean[i];
}

template <class T>
SharedOut share_out(const RowSource<T>& source, const ShareTable<T>* table, const GaussianPanel<T>& panel,
                    std::span<double> sums, typename ShareTable<T>::List* fresh, ShareScratch<T>& scratch,
                    const HaltProbe& halted) {
  const auto gaussians = panel.view();
  const std::size_t k_all = panel.size(), size = sums.size() / std::max<std::size_t>(k_all, 1);
  scratch.fit(panel);
  std::vector<double> about(sums.size());
  SharedOut done;
  for (std::size_t first = 0; first < source.size(); first += kernels::kMomentRows) {
    const std::size_t n = std::min(kernels::kMomentRows, source.size() - first);
    const auto number = [&](std::size_t r) { return source.number(first + r); };
    scratch.block.fill(source.x, source.weights, source.centre, n, number);
    kernels::MixtureOutputs<T> outputs;
    outputs.lists = scratch.lists();
    outputs.log_sums = scratch.log_sums.data();
    if (table != nullptr) {
      for (std::size_t r = 0; r < n; ++r) scratch.masses[r] = table->mass(number(r));
      outputs.mass = scratch.masses.data();
    }
    kernels::assess_rows(scratch.block.rows(), gaussians, outputs, scratch.score_scratch.data());
    for (std::size_t k = 0; k < k_all; ++k) {
      const std::size_t count = scratch.counts[k];
      if (count == 0) continue;
      const auto* rows = scratch.list_rows.data() + k * kernels::kMomentRows;
      const auto* shares = scratch.list_shares.data() + k * kernels::kMomentRows;
      kernels::add_moments({scratch.block.rows(), scratch.block.weights(), {rows, count}, {shares, count}},
                           panel.mean(k), gaussians.full, about.data() + k * size, scratch.moment_scratch.data());
      if (fresh == nullptr) continue;
      for (std::size_t e = 0; e < count; ++e) {
        fresh[k].rows.push_back(static_cast<std::uint32_t>(number(rows[e])));
      }
      fresh[k].shares.insert(fresh[k].shares.end(), shares, shares + count);
    }
    const T* weights = scratch.block.weights();
    for (std::size_t r = 0; r < n; ++r) {
      const double weight = weights ? double{weights[r]} : 1.0;
      done.weight += weight;
      done.log_likelihood += weight * double{scratch.log_sums[r]};
    }
    if (halted(n * k_all)) {
      done.whole = first + n == source.size();
      if (!done.whole) return done;
    }
  }
  std::vector<double> mean(panel.n_features());
  for (std::size_t k = 0; k < k_all; ++k) {
    std::copy_n(panel.mean(k), mean.size(), mean.begin());
    const auto moved = std::span(about).subspan(k * size, size);
    move_to_centre(moved, mean, gaussians.full);
    for (std::size_t i = 0; i < size; ++i) sums[k * size + i] += moved[i];
  }
  return done;
}

template <class T>
void add_list(const RowSource<T>& source, const typename ShareTable<T>::List& list, bool full, std::span<double> sums,
              ShareScratch<T>& scratch) {
  const std::size_t stride = padded<T>(source.x.cols());
  scratch.moment_scratch.resize(kernels::moment_scratch(stride));
  // About the mean of the list, so that nothing cancels.
  std::vector<double> mean(source.x.cols());
  for (const std::uint32_t row : list.rows) {
    for (std::size_t j = 0; j < mean.size(); ++j) {
      mean[j] += (double{source.x(row, j)} - double{source.centre[j]}) / double(list.rows.size());
    }
  }
  AlignedVector<T> rounded(stride, T{0});
  for (std::size_t j = 0; j < mean.size(); ++j) mean[j] = double{rounded[j] = static_cast<T>(mean[j])};
  std::vector<std::uint32_t> places(kernels::kMomentRows);
  for (std::size_t r = 0; r < places.size(); ++r) places[r] = static_cast<std::uint32_t>(r);
  std::vector<double> about(sums.size());
  for (std::size_t first = 0; first < list.rows.size(); first += kernels::kMomentRows) {
    const std::size_t n = std::min(kernels::kMomentRows, list.rows.size() - first);
    scratch.block.fill(source.x, source.weights, source.centre, n,
                       [&](std::size_t r) { return std::size_t{list.rows[first + r]}; });
    kernels::add_moments(
        {scratch.block.rows(), scratch.block.weights(), {places.data(), n}, {list.shares.data() + first, n}},
        rounded.data(), full, about.data(), scratch.moment_scratch.data());
  }
  move_to_centre(about, mean, full);
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += about[i];
}

template class ShareTable<float>;
template class ShareTable<double>;
template struct ShareScratch<float>;
template struct ShareScratch<double>;
template SharedOut share_out(const RowSource<float>&, const ShareTable<float>*, const GaussianPanel<float>&,
                             std::span<double>, ShareTable<float>::List*, ShareScratch<float>&, const HaltProbe&);
template SharedOut share_out(const RowSource<double>&, const ShareTable<double>*, const GaussianPanel<double>&,
                             std::span<double>, ShareTable<double>::List*, ShareScratch<double>&, const HaltProbe&);
template void add_list(const RowSource<float>&, const ShareTable<float>::List&, bool, std::span<double>,
                       ShareScratch<float>&);
template void add_list(const RowSource<double>&, const ShareTable<double>::List&, bool, std::span<double>,
                       ShareScratch<double>&);

}  // namespace steppe
