#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>

#include "bindings/arrays.hpp"
#include "bindings/registers.hpp"
#include "steppe/models/recommend/matrix_factorization_fit.hpp"
#include "steppe/models/recommend/ranking.hpp"

namespace steppe::bindings {
namespace {

namespace py = pybind11;

// Parameters and start of a fit as Python passes them: a dict of plain values, and one of arrays or None.
MatrixFactorizationObjective objective_from(const py::dict& params) {
  return {params["reg"].cast<double>(), params["count_weighted"].cast<bool>(), params["biases"].cast<bool>(),
          params["nonnegative"].cast<bool>()};
}

MatrixFactorizationParams params_from(const py::dict& params) {
  MatrixFactorizationParams result;
  result.solver = params["solver"].cast<std::string>();
  result.n_factors = params["n_factors"].cast<std::uint32_t>();
  result.objective = objective_from(params);
  result.learning_rate = params["learning_rate"].cast<double>();
  result.schedule = params["schedule"].cast<std::string>();
  result.n_threads = params["n_threads"].cast<std::uint32_t>();
  result.seed = params["seed"].cast<std::uint64_t>();
  return result;
}

template <class T>
NdArray<T> array_at(const py::dict& arrays, const char* name) {
  return arrays[name].cast<NdArray<T>>();
}

template <class T>
std::optional<MatrixFactorizationStart<T>> start_from(const py::object& start) {
  if (start.is_none()) return std::nullopt;
  const auto arrays = start.cast<py::dict>();
  return MatrixFactorizationStart<T>{matrix_view(array_at<T>(arrays, "user_factors")),
                                     vector_view(array_at<T>(arrays, "user_bias")),
                                     matrix_view(array_at<T>(arrays, "item_factors")),
                                     vector_view(array_at<T>(arrays, "item_bias")),
                                     arrays["mean"].cast<double>(),
                                     arrays["scale"].cast<double>(),
                                     arrays["rounds"].cast<std::uint32_t>()};
}

template <class T>
std::unique_ptr<FitSession> make_session(const py::dict& params, const Rows& ratings, const py::object& start,
                                         Link& link) {
  const auto native = params_from(params);
  const auto first = start_from<T>(start);
  const auto view = ratings.csr<T>();
  const py::gil_scoped_release released;
  return make_matrix_factorization<T>(native, view, first, link);
}

std::unique_ptr<FitSession> session(const py::dict& params, const py::object& ratings, const py::object& start,
                                    Link& link) {
  const Rows rows(ratings);
  return rows.single() ? make_session<float>(params, rows, start, link)
                       : make_session<double>(params, rows, start, link);
}

template <class T>
py::tuple top_items_of(const NdArray<T>& users, const NdArray<T>& items, const NdArray<T>& offset, std::size_t n,
                       const py::object& excluded, std::uint32_t n_threads) {
  const auto from = matrix_view(users), to = matrix_view(items);
  const auto offsets = vector_view(offset);
  const std::optional<Rows> rows = excluded.is_none() ? std::nullopt : std::optional<Rows>(excluded);
  const CsrView<T> hidden = rows ? rows->csr<T>() : CsrView<T>();
  NdArray<T> scores({from.rows(), n});
  NdArray<std::int32_t> best({from.rows(), n});
  const MatrixView<T> score_view(scores.mutable_data(), from.rows(), n);
  const MatrixView<std::int32_t> best_view(best.mutable_data(), from.rows(), n);
  {
    const py::gil_scoped_release released;
    top_items<T>(from, to, offsets, hidden, n_threads, score_view, best_view);
  }
  return py::make_tuple(best, scores);
}

template <class T>
NdArray<T> pair_products_of(const NdArray<T>& users, const NdArray<T>& items, const NdArray<std::int64_t>& u,
                            const NdArray<std::int64_t>& i, std::uint32_t n_threads) {
  const auto from = matrix_view(users), to = matrix_view(items);
  const auto first = vector_view(u), second = vector_view(i);
  NdArray<T> out(static_cast<py::ssize_t>(first.size()));
  const std::span<T> out_view(out.mutable_data(), first.size());
  {
    const py::gil_scoped_release released;
    pair_products<T>(from, to, first, second, n_threads, out_view);
  }
  return out;
}

template <class T>
py::tuple fold_in_of(const py::dict& params, const py::object& ratings, const NdArray<T>& items,
                     const NdArray<T>& item_bias, double mean) {
  const auto objective = objective_from(params);
  const auto n_threads = params["n_threads"].cast<std::uint32_t>();
  const Rows rows(ratings);
  const auto view = rows.csr<T>();
  const auto to = matrix_view(items);
  const auto biases = vector_view(item_bias);
  NdArray<T> factors({view.rows(), to.cols()});
  NdArray<T> bias(static_cast<py::ssize_t>(view.rows()));
  const MatrixView<T> factor_view(factors.mutable_data(), view.rows(), to.cols());
  const std::span<T> bias_view(bias.mutable_data(), view.rows());
  {
    const py::gil_scoped_release released;
    fold_in<T>(objective, view, to, biases, mean, n_threads, factor_view, bias_view);
  }
  return py::make_tuple(factors, bias);
}

template <class T>
void register_queries(py::module_& module) {
  module.def("top_items", &top_items_of<T>, py::arg("users").noconvert(), py::arg("items").noconvert(),
             py::arg("offset").noconvert(), py::arg("n"), py::arg("excluded"), py::arg("n_threads"),
             "The n best columns of users @ items.T + offset for each row: (columns, scores), falling.");
  module.def("pair_products", &pair_products_of<T>, py::arg("users").noconvert(), py::arg("items").noconvert(),
             py::arg("u").noconvert(), py::arg("i").noconvert(), py::arg("n_threads"),
             "users[u] . items[i] for each pair; the numbers must be in range.");
  module.def("fold_in", &fold_in_of<T>, py::arg("params"), py::arg("ratings"), py::arg("items").noconvert(),
             py::arg("item_bias").noconvert(), py::arg("mean"), "Factors and biases of new users, items being fixed.");
}

}  // namespace

void register_recommend(py::module_& module) {
  module.def("matrix_factorization_session", &session, py::arg("params"), py::arg("ratings"), py::arg("start"),
             py::arg("link"), py::keep_alive<0, 4>(), "A fit of these ratings, at its start. Collective.");
  register_queries<float>(module);
  register_queries<double>(module);
}

}  // namespace steppe::bindings
