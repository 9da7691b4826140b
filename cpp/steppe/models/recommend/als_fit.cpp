#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "steppe/kernels/row_solver.hpp"
#include "steppe/kernels/sgd_pair.hpp"
#include "steppe/models/recommend/joint_solver.hpp"
#include "steppe/models/recommend/matrix_factorization_fit.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe {
namespace {

constexpr std::size_t kGrain = 64;             // rows that a worker takes at a time
constexpr std::size_t kBlockBytes = 64 << 20;  // normal equations of items held at once on a cluster
constexpr int kDescentSweeps = 4;

// Memory for the equations of one row, one for each worker.
template <class T>
struct Workspace {
  AlignedVector<T> matrix, right, tile, scratch, x;

  Workspace(std::size_t stride, std::size_t order)
      : matrix(order * order), right(order), tile(kernels::kTileRows * stride), scratch(5 * order), x(order) {}
};

// Alternating least squares: users against fixed items, then items against fixed users, each row by warm-started
// conjugate gradients on its normal equations (or clipped coordinate descent where factors may not be negative).
//
// On a cluster users, their ratings and their factors stay on their rank; the items are whole on every rank. An item's
// normal equations are a sum over ranks, of which each rank holds its part: conjugate gradients run on all ranks in
// step, and only the products with the direction travel (k numbers an item and step), added in rank order, so every
// rank ends with the same bits. The traffic does not grow with the number of users or ratings.
template <class T>
class AlsSession final : public FitSession {
 public:
  AlsSession(const MatrixFactorizationParams& params, CsrView<T> ratings,
             const std::optional<MatrixFactorizationStart<T>>& start, RatingSummary summary, Link& link)
      : objective_(params.objective), link_(link), team_(params.n_threads), summary_(std::move(summary)),
        mean_(start ? start->mean : center_of(objective_, summary_)), scale_(start ? start->scale : summary_.scale),
        users_(ratings.rows(), params.n_factors), items_(ratings.cols(), params.n_factors),
        order_(padded<T>(params.n_factors + (objective_.biases ? 1 : 0))), by_item_(columns_of(ratings)) {
    copy_rows(ratings);
    for (std::uint32_t t = 0; t < team_.size(); ++t) work_.emplace_back(users_.stride, order_);
    if (start) {
      users_.assign(start->user_factors, start->user_bias);
      items_.assign(start->item_factors, start->item_bias);
      return;
    }
    const FactorInit init = init_of(params, summary_);
    for (std::size_t j = 0; j < items_.rows; ++j) {
      if (summary_.item_counts[j] > 0) init_factors(items_.row(j), init, Purpose::init_token, j);
    }
  }

  Progress advance(std::uint32_t rounds, Control& control) override {
    Progress progress;
    for (std::uint32_t round = 0; round < rounds && !progress.stopped; ++round) {
      progress.stopped = agree(sweep_users(control));
      if (!progress.stopped) {
        progress.stopped = link_.size() == 1 ? sweep_items(control) : agree(sweep_items_together(control));
      }
      progress.updates += 2 * by_item_.values.size();
      ++rounds_;
    }
    std::uint64_t updates[] = {progress.updates};
    sum_over_ranks(link_, updates);
    progress.updates = updates[0];
    return progress;
  }

  double objective(Control& control) override {
    std::vector<double> by_item(items_.rows);
    for_rows(items_.rows, control, [&](std::size_t j, Workspace<T>&) {
      by_item[j] = kernels::squared_error<T>(
          {users_.factors.data(), objective_.biases ? users_.bias.data() : nullptr, nullptr, users_.stride},
          {items_.factors.data() + j * items_.stride, &items_.bias[j]}, {by_item_.users_of(j), by_item_.values_of(j)},
          static_cast<T>(mean_));
    });
    double sums[] = {0};
    for (const double value : by_item) sums[0] += value;
    for (std::size_t u = 0; u < users_.rows; ++u) {
      sums[0] += objective_.weight(user_count(u)) * users_.squared_norm(u);
    }
    sum_over_ranks(link_, sums);
    for (std::size_t j = 0; j < items_.rows; ++j) {
      sums[0] += objective_.weight(summary_.item_counts[j]) * items_.squared_norm(j);
    }
    return 0.5 * sums[0];
  }

  std::uint32_t rounds_done() const override { return rounds_; }

  ArrayMap state() const override {
    ArrayMap state = factorization_result(users_.dense_factors(), users_.dense_bias(), items_, mean_, scale_);
    state["rounds"] = Array::scalar(rounds_);
    return state;
  }

  void restore(const ArrayMap& state) override {
    restore_table(state, "user", users_);
    restore_table(state, "item", items_);
    mean_ = scalar_at<double>(state, "mean");
    scale_ = scalar_at<double>(state, "scale");
    rounds_ = scalar_at<std::uint32_t>(state, "rounds");
  }

  ArrayMap result() override {
    return factorization_result(users_.dense_factors(), users_.dense_bias(), items_, mean_, scale_);
  }

 private:
  void copy_rows(CsrView<T> ratings) {
    offsets_.push_back(0);
    for (std::size_t u = 0; u < ratings.rows(); ++u) {
      const auto row = ratings.row(u);
      indices_.insert(indices_.end(), row.indices.begin(), row.indices.end());
      values_.insert(values_.end(), row.values.begin(), row.values.end());
      offsets_.push_back(static_cast<std::int64_t>(indices_.size()));
    }
  }

  static void restore_table(const ArrayMap& state, const std::string& name, FactorTable<T>& table) {
    const Array& factors = at(state, name + "_factors");
    const Array& bias = at(state, name + "_bias");
    require(factors.shape == std::vector<std::size_t>{table.rows, table.k} &&
                bias.shape == std::vector<std::size_t>{table.rows},
            "state: its factors have another shape than this fit's");
    table.assign({factors.template as<T>().data(), table.rows, table.k}, bias.template as<T>());
  }

  std::size_t user_count(std::size_t u) const { return static_cast<std::size_t>(offsets_[u + 1] - offsets_[u]); }

  // body(row, workspace) for all rows on the team, polling meanwhile; true if a stop was asked for. Rows under way are
  // finished, so the parameters stay whole.
  template <class Body>
  bool for_rows(std::size_t n, Control& control, Body&& body) {
    std::atomic<std::size_t> next{0};
    std::atomic<bool> halt{false};
    Pacer pacer(control);
    const bool alone = team_.size() == 1;
    const Team::Job job = [&](std::uint32_t member) {
      while (!halt.load(std::memory_order_relaxed)) {
        const std::size_t begin = next.fetch_add(kGrain, std::memory_order_relaxed);
        if (begin >= n) return;
        for (std::size_t row = begin; row < std::min(begin + kGrain, n); ++row) body(row, work_[member]);
        if (alone && pacer.stop_requested()) halt = true;
      }
    };
    if (alone) {
      job(0);
    } else {
      team_.run(job, control, [&] { halt = true; });
    }
    return halt;
  }

  bool agree(bool stop) {
    std::uint64_t stops[] = {stop ? 1u : 0u};
    if (link_.size() > 1) sum_over_ranks(link_, stops);
    return stops[0] > 0;
  }

  kernels::RatedRows<T> rated_by(std::size_t u) const {
    const auto first = static_cast<std::size_t>(offsets_[u]);
    return {items_.factors.data(),
            objective_.biases ? items_.bias.data() : nullptr,
            items_.stride,
            std::span(indices_).subspan(first, user_count(u)),
            std::span(values_).subspan(first, user_count(u)),
            static_cast<T>(mean_)};
  }
  kernels::RatedRows<T> raters_of(std::size_t j) const {
    return {users_.factors.data(), objective_.biases ? users_.bias.data() : nullptr,
            users_.stride,         by_item_.users_of(j),
            by_item_.values_of(j), static_cast<T>(mean_)};
  }

  bool sweep_users(Control& control) {
    return for_rows(users_.rows, control, [&](std::size_t u, Workspace<T>& work) {
      if (user_count(u) > 0) solve_row(rated_by(u), objective_.weight(user_count(u)), users_, u, work);
    });
  }

  bool sweep_items(Control& control) {
    return for_rows(items_.rows, control, [&](std::size_t j, Workspace<T>& work) {
      if (by_item_.count(j) > 0) solve_row(raters_of(j), objective_.weight(summary_.item_counts[j]), items_, j, work);
    });
  }

  void solve_row(const kernels::RatedRows<T>& rated, double weight, FactorTable<T>& table, std::size_t i,
                 Workspace<T>& work) {
    const kernels::NormalEquations<T> equations{work.matrix.data(), work.right.data(), order_, table.k};
    kernels::form_normal_equations<T>(rated, equations, work.tile);
    take_row(table, i, work.x.data());
    solve(equations, weight, work.x.data(), work.scratch);
    put_row(table, i, work.x.data());
  }

  void solve(const kernels::NormalEquations<T>& equations, double weight, T* x, std::span<T> scratch) const {
    const auto reg = static_cast<T>(weight);
    if (objective_.nonnegative) {
      const std::size_t free = objective_.biases ? equations.bias_at : order_;
      kernels::nonnegative_descent<T>(equations, reg, free, x, kDescentSweeps, scratch);
    } else {
      kernels::conjugate_gradient<T>(equations, reg, x, kernels::SolverLimits{}, scratch);
    }
  }

  void take_row(const FactorTable<T>& table, std::size_t i, T* x) const {
    std::fill_n(x, order_, T(0));
    std::ranges::copy(table.row(i), x);
    if (objective_.biases) x[table.k] = table.bias[i];
  }
  void put_row(FactorTable<T>& table, std::size_t i, const T* x) const {
    std::copy_n(x, table.k, table.row(i).begin());
    if (objective_.biases) table.bias[i] = x[table.k];
  }

  // Blocks of items whose normal equations fit into kBlockBytes; the same blocks on all ranks. A stop leaves between
  // two blocks, by common consent.
  bool sweep_items_together(Control& control) {
    const std::size_t fitting = std::max<std::size_t>(1, kBlockBytes / (order_ * order_ * sizeof(T)));
    bool stop = false;
    for (std::size_t first = 0; first < items_.rows && !stop; first += fitting) {
      const std::size_t n = std::min(fitting, items_.rows - first);
      const bool mine = form_block(first, n, control);
      if (objective_.nonnegative) {
        descend_together(first, n);
      } else {
        solve_together(first, n);
      }
      stop = agree(mine);
    }
    return stop;
  }

  kernels::NormalEquations<T> equations_of(std::size_t i) {
    return {block_.data() + i * order_ * order_, right_.data() + i * order_, order_, items_.k};
  }

  // This rank's share of the equations of items first .. first + n - 1. Formed whole even if a stop is asked for: the
  // other ranks count on it.
  bool form_block(std::size_t first, std::size_t n, Control& control) {
    block_.resize(n * order_ * order_);
    right_.resize(n * order_);
    std::atomic<std::size_t> next{0};
    bool stop = false;
    const Team::Job job = [&](std::uint32_t member) {
      for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) {
        kernels::form_normal_equations<T>(raters_of(first + i), equations_of(i), work_[member].tile);
      }
    };
    if (team_.size() == 1) {
      job(0);
      stop = control.poll();
    } else {
      stop = team_.run(job, control, [] {});
    }
    return stop;
  }

  template <class F>
  std::vector<double> summed(std::size_t n, F&& value) {
    std::vector<double> sums(n);
    for (std::size_t i = 0; i < n; ++i) sums[i] = static_cast<double>(value(i));
    sum_over_ranks(link_, sums);
    return sums;
  }

  void descend_together(std::size_t first, std::size_t n) {
    const auto matrix = summed(n * order_ * order_, [&](std::size_t i) { return block_[i]; });
    const auto right = summed(n * order_, [&](std::size_t i) { return right_[i]; });
    std::ranges::transform(matrix, block_.begin(), [](double value) { return static_cast<T>(value); });
    std::ranges::transform(right, right_.begin(), [](double value) { return static_cast<T>(value); });
    for (std::size_t i = 0; i < n; ++i) {
      if (summary_.item_counts[first + i] == 0) continue;
      take_row(items_, first + i, work_[0].x.data());
      solve(equations_of(i), objective_.weight(summary_.item_counts[first + i]), work_[0].x.data(), work_[0].scratch);
      put_row(items_, first + i, work_[0].x.data());
    }
  }

  void solve_together(std::size_t first, std::size_t n) {
    std::vector<double> reg(n);
    for (std::size_t i = 0; i < n; ++i) reg[i] = objective_.weight(summary_.item_counts[first + i]);
    JointSolver solver(
        std::move(reg), summed(n * order_, [&](std::size_t f) { return right_[f]; }),
        summed(n * order_, [&](std::size_t f) { return equations_of(f / order_).matrix[f % order_ * (order_ + 1)]; }),
        [&](const std::vector<double>& direction) { return products(direction, n); });

    std::vector<double> x(n * order_);
    std::vector<T> row(order_);
    for (std::size_t i = 0; i < n; ++i) {
      take_row(items_, first + i, row.data());
      std::ranges::copy(row, x.begin() + static_cast<std::ptrdiff_t>(i * order_));
    }
    solver.solve(x, kernels::SolverLimits{});
    for (std::size_t i = 0; i < n; ++i) {
      std::transform(x.begin() + static_cast<std::ptrdiff_t>(i * order_),
                     x.begin() + static_cast<std::ptrdiff_t>((i + 1) * order_), row.begin(),
                     [](double value) { return static_cast<T>(value); });
      put_row(items_, first + i, row.data());
    }
  }

  // The sum over ranks of A x, for all items of a block.
  std::vector<double> products(const std::vector<double>& x, std::size_t n) {
    std::vector<T> in(x.begin(), x.end()), out(x.size());
    team_.parallel_for(n, kGrain, [&](std::size_t begin, std::size_t end, std::uint32_t) {
      for (std::size_t i = begin; i < end; ++i) {
        kernels::apply<T>(equations_of(i), T(0), in.data() + i * order_, out.data() + i * order_);
      }
    });
    return summed(out.size(), [&](std::size_t i) { return out[i]; });
  }

  MatrixFactorizationObjective objective_;
  Link& link_;
  Team team_;
  RatingSummary summary_;
  double mean_, scale_;
  FactorTable<T> users_, items_;
  std::size_t order_;
  std::vector<std::int64_t> offsets_;  // this rank's ratings by user
  std::vector<std::int32_t> indices_;
  std::vector<T> values_;
  RatingColumns<T> by_item_;  // the same by item
  std::vector<Workspace<T>> work_;
  AlignedVector<T> block_, right_;  // normal equations of a block of items
  std::uint32_t rounds_ = 0;
};

}  // namespace

template <class T>
std::unique_ptr<FitSession> make_als_session(const MatrixFactorizationParams& params, CsrView<T> ratings,
                                             const std::optional<MatrixFactorizationStart<T>>& start,
                                             RatingSummary summary, Link& link) {
  return std::make_unique<AlsSession<T>>(params, ratings, start, std::move(summary), link);
}

template std::unique_ptr<FitSession> make_als_session(const MatrixFactorizationParams&, CsrView<float>,
                                                      const std::optional<MatrixFactorizationStart<float>>&,
                                                      RatingSummary, Link&);
template std::unique_ptr<FitSession> make_als_session(const MatrixFactorizationParams&, CsrView<double>,
                                                      const std::optional<MatrixFactorizationStart<double>>&,
                                                      RatingSummary, Link&);

}  // namespace steppe
