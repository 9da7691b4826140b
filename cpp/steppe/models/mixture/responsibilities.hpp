#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "steppe/core/aligned.hpp"
#include "steppe/kernels/mixture_moments.hpp"
#include "steppe/models/mixture/gaussian_panel.hpp"
#include "steppe/schedules/concepts.hpp"

namespace steppe {

// The shares that rows have of components, by component and without those that are next to nothing. What rounding and
// small shares take from a row's mass is "loose": the row's next visit shares it out again, so each row keeps a mass of
// one however often it is visited.
template <class T>
class ShareTable {
 public:
  struct List {
    std::vector<std::uint32_t> rows;  // ascending
    std::vector<T> shares;
  };
  struct Packed {  // all lists, one behind the other
    std::vector<std::uint32_t> counts, rows;
    std::vector<T> shares;
  };

  void resize(std::size_t n_components, std::size_t n_rows) {
    lists_.resize(n_components);
    loose_.assign(n_rows, T{0});
    mass_.resize(n_rows);
  }
  void clear() {
    for (List& list : lists_) list = {};
  }

  List& list(std::size_t k) { return lists_[k]; }
  // Without the room in which a list has grown.
  void replace(std::size_t k, List list) {
    list.rows.shrink_to_fit();
    list.shares.shrink_to_fit();
    lists_[k] = std::move(list);
  }
  const List& list(std::size_t k) const { return lists_[k]; }
  std::size_t n_components() const { return lists_.size(); }
  std::span<T> loose() { return loose_; }

  // The rows that have mass on these components, in order; mass(row) then holds it, with what is loose.
  std::span<const std::uint32_t> gather(std::span<const std::uint32_t> components);
  T mass(std::size_t row) const { return mass_[row]; }
  // What is gathered has been shared out: nothing of these rows is loose any more.
  void settle() {
    for (const std::uint32_t row : active_) loose_[row] = T{0};
  }
  // What is missing in the lists to a mass of one is loose.
  void count_loose();

  Packed packed() const;
  void unpack(const Packed& packed);

 private:
  std::vector<List> lists_;
  std::vector<T> loose_, mass_;
  std::vector<std::uint32_t> active_;
};

// What one worker needs to share rows out.
template <class T>
struct ShareScratch {
  explicit ShareScratch(std::size_t n_features)
      : block(n_features, kernels::kMomentRows), masses(kernels::kMomentRows), log_sums(kernels::kMomentRows) {}

  void fit(const GaussianPanel<T>& panel);
  kernels::ShareLists<T> lists() { return {list_rows.data(), list_shares.data(), counts.data(), kernels::kMomentRows}; }

  RowBlock<T> block;
  std::vector<T> masses, log_sums;
  std::vector<std::uint32_t> list_rows, counts;
  std::vector<T> list_shares;
  AlignedVector<T> score_scratch, moment_scratch;
};

template <class T>
struct RowSource {
  MatrixView<const T> x;
  std::span<const T> weights;
  std::span<const T> centre;
  bool all = true;
  std::span<const std::uint32_t> numbers;  // unless all

  std::size_t size() const { return all ? x.rows() : numbers.size(); }
  std::size_t number(std::size_t i) const { return all ? i : numbers[i]; }
};

struct SharedOut {
  bool whole = true;  // false: halted; the sums are those of some rows
  double log_likelihood = 0, weight = 0;
};

// Shares out the mass of rows (`table`; null is one each) over the components of `panel`, and adds to `sums`
// (panel.size() x moment_size) the statistics that this makes, about the centre. With `fresh`, the new lists are
// appended to fresh[k].
template <class T>
SharedOut share_out(const RowSource<T>& source, const ShareTable<T>* table, const GaussianPanel<T>& panel,
                    std::span<double> sums, typename ShareTable<T>::List* fresh, ShareScratch<T>& scratch,
                    const HaltProbe& halted);

// Adds the statistics of a list about the centre.
template <class T>
void add_list(const RowSource<T>& source, const typename ShareTable<T>::List& list, bool full, std::span<double> sums,
              ShareScratch<T>& scratch);

// From statistics about a mean to the same about the centre, in place.
void move_to_centre(std::span<double> sums, std::span<const double> mean, bool full);

}  // namespace steppe
