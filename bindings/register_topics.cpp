#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bindings/arrays.hpp"
#include "bindings/registers.hpp"
#include "steppe/models/topics/fold_in.hpp"
#include "steppe/models/topics/latent_dirichlet_fit.hpp"

namespace steppe::bindings {
namespace {

namespace py = pybind11;

LatentDirichletParams params_from(const py::dict& params) {
  LatentDirichletParams result;
  result.inference = params["inference"].cast<std::string>();
  result.n_topics = params["n_topics"].cast<std::uint32_t>();
  result.kept = params["kept"].cast<std::uint32_t>();
  result.doc_topic_prior = params["doc_topic_prior"].cast<std::vector<double>>();
  result.topic_word_prior = params["topic_word_prior"].cast<std::vector<double>>();
  result.schedule = params["schedule"].cast<std::string>();
  result.n_threads = params["n_threads"].cast<std::uint32_t>();
  result.seed = params["seed"].cast<std::uint64_t>();
  result.n_sweeps = params["n_sweeps"].cast<std::uint32_t>();
  result.batch_rows = params["batch_rows"].cast<std::uint64_t>();
  result.learning_decay = params["learning_decay"].cast<double>();
  result.learning_offset = params["learning_offset"].cast<double>();
  return result;
}

std::unique_ptr<FitSession> session(const py::dict& params, const py::object& documents,
                                    const std::optional<NdArray<double>>& start, bool adds, Link& link) {
  const auto native = params_from(params);
  const Rows rows(documents);
  std::optional<LatentDirichletStart> first;
  if (start) first = {matrix_view(*start), adds};
  const LatentDirichletStart* const from = first ? &*first : nullptr;
  const auto make = [&]<class T>(CsrView<T> view) {
    const py::gil_scoped_release released;
    return make_latent_dirichlet<T>(native, view, from, link);
  };
  return rows.single() ? make(rows.csr<float>()) : make(rows.csr<double>());
}

template <class T>
NdArray<T> fold_in_of(const py::object& documents, const NdArray<T>& components, const std::vector<double>& alpha,
                      bool mean_field, std::uint32_t max_iter, double tol, std::uint32_t n_threads) {
  const Rows rows(documents);
  const auto view = rows.csr<T>();
  const auto lambda = matrix_view(components);
  NdArray<T> gamma({view.rows(), lambda.rows()});
  const MatrixView<T> out(gamma.mutable_data(), view.rows(), lambda.rows());
  {
    const py::gil_scoped_release released;
    fold_in_topics<T>(view, lambda, mean_field, {alpha, max_iter, tol, n_threads}, out);
  }
  return gamma;
}

template <class T>
py::tuple complete_of(const py::object& documents, const NdArray<T>& components, const std::vector<double>& alpha,
                      std::uint32_t max_iter, double tol, std::uint32_t n_threads) {
  const Rows rows(documents);
  const auto view = rows.csr<T>();
  const auto lambda = matrix_view(components);
  NdArray<double> likelihood(static_cast<py::ssize_t>(view.rows())), tokens(static_cast<py::ssize_t>(view.rows()));
  const std::span<double> likelihoods(likelihood.mutable_data(), view.rows());
  const std::span<double> n_tokens(tokens.mutable_data(), view.rows());
  {
    const py::gil_scoped_release released;
    complete_documents<T>(view, lambda, {alpha, max_iter, tol, n_threads}, likelihoods, n_tokens);
  }
  return py::make_tuple(likelihood, tokens);
}

template <class T>
void register_fold_in(py::module_& module) {
  module.def("fold_in_topics", &fold_in_of<T>, py::arg("documents"), py::arg("components").noconvert(),
             py::arg("doc_topic_prior"), py::arg("mean_field"), py::arg("max_iter"), py::arg("tol"),
             py::arg("n_threads"), "Parameters of the topics of new documents, the topics being held.");
  module.def("complete_documents", &complete_of<T>, py::arg("documents"), py::arg("components").noconvert(),
             py::arg("doc_topic_prior"), py::arg("max_iter"), py::arg("tol"), py::arg("n_threads"),
             "Log likelihood of the evaluated half of each document, and its number of tokens.");
}

}  // namespace

void register_topics(py::module_& module) {
  module.def("latent_dirichlet_session", &session, py::arg("params"), py::arg("documents"),
             py::arg("start").noconvert(), py::arg("adds"), py::arg("link"), py::keep_alive<0, 5>(),
             "A fit of these documents, at its start. Collective.");
  register_fold_in<float>(module);
  register_fold_in<double>(module);
}

}  // namespace steppe::bindings
