#include "steppe/models/topics/documents.hpp"

#include <cmath>
#include <string>

#include "steppe/core/errors.hpp"

namespace steppe {

template <class T>
WordColumns<T> word_columns(CsrView<T> documents) {
  WordColumns<T> columns;
  columns.offsets.assign(documents.cols() + 1, 0);
  const auto for_each = [&](auto&& take) {
    for (std::size_t d = 0; d < documents.rows(); ++d) {
      const auto row = documents.row(d);
      for (std::size_t n = 0; n < row.size(); ++n) {
        if (row.values[n] != T(0)) take(d, static_cast<std::size_t>(row.indices[n]), row.values[n]);
      }
    }
  };
  for_each([&](std::size_t, std::size_t word, T) { ++columns.offsets[word + 1]; });
  for (std::size_t v = 0; v < documents.cols(); ++v) columns.offsets[v + 1] += columns.offsets[v];
  columns.documents.resize(static_cast<std::size_t>(columns.offsets.back()));
  columns.counts.resize(columns.documents.size());
  std::vector<std::int64_t> next(columns.offsets.begin(), columns.offsets.end() - 1);
  for_each([&](std::size_t d, std::size_t word, T count) {
    const auto place = static_cast<std::size_t>(next[word]++);
    columns.documents[place] = static_cast<std::int32_t>(d);
    columns.counts[place] = count;
  });
  return columns;
}

template <class T>
DocumentRows<T>::DocumentRows(CsrView<T> documents) {
  words_.reserve(documents.nonzeros());
  counts_.reserve(documents.nonzeros());
  for (std::size_t d = 0; d < documents.rows(); ++d) {
    const auto row = documents.row(d);
    for (std::size_t n = 0; n < row.size(); ++n) {
      if (row.values[n] == T(0)) continue;
      words_.push_back(row.indices[n]);
      counts_.push_back(row.values[n]);
    }
    offsets_.push_back(static_cast<std::int64_t>(words_.size()));
  }
}

template <class T>
CorpusSummary summarise_corpus(CsrView<T> documents, Link& link) {
  double n_tokens = 0;
  bool bad = false;
  std::uint64_t n_entries = 0;
  for (std::size_t d = 0; d < documents.rows(); ++d) {
    for (const T count : documents.row(d).values) {
      bad = bad || !(count >= T(0)) || !std::isfinite(count);
      n_tokens += static_cast<double>(count);
      n_entries += count > T(0) ? 1 : 0;
    }
  }
  agree_on_input(link, bad ? "X: holds counts that are negative or not finite; give counts of 0 or more" : "");
  CorpusSummary summary;
  double tokens[] = {n_tokens};
  sum_over_ranks(link, tokens);
  summary.n_tokens = tokens[0];
  std::uint64_t entries[] = {n_entries};
  sum_over_ranks(link, entries);
  summary.n_entries = entries[0];
  std::vector<std::uint64_t> rows(link.size());
  rows[link.rank()] = documents.rows();
  sum_over_ranks(link, rows);
  for (std::uint32_t rank = 0; rank < link.rank(); ++rank) summary.first_document += rows[rank];
  for (const std::uint64_t n : rows) summary.n_documents += n;
  return summary;
}

template WordColumns<float> word_columns(CsrView<float>);
template WordColumns<double> word_columns(CsrView<double>);
template class DocumentRows<float>;
template class DocumentRows<double>;
template CorpusSummary summarise_corpus(CsrView<float>, Link&);
template CorpusSummary summarise_corpus(CsrView<double>, Link&);

}  // namespace steppe
