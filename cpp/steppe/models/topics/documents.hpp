#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "steppe/comm/link.hpp"
#include "steppe/core/views.hpp"

namespace steppe {

// The entries of some documents by word: those of word v are offsets[v] .. offsets[v + 1] - 1, in the order of
// documents, which are numbered within the shard. Counts of zero are left out.
template <class T>
struct WordColumns {
  std::vector<std::int64_t> offsets;
  std::vector<std::int32_t> documents;
  std::vector<T> counts;

  std::size_t first(std::size_t v) const { return static_cast<std::size_t>(offsets[v]); }
  std::size_t count(std::size_t v) const { return static_cast<std::size_t>(offsets[v + 1] - offsets[v]); }
  std::span<const std::int32_t> documents_of(std::size_t v) const {
    return std::span(documents).subspan(first(v), count(v));
  }
  std::span<const T> counts_of(std::size_t v) const { return std::span(counts).subspan(first(v), count(v)); }
};

template <class T>
WordColumns<T> word_columns(CsrView<T> documents);

// A copy of some documents, without counts of zero.
template <class T>
class DocumentRows {
 public:
  DocumentRows() = default;
  explicit DocumentRows(CsrView<T> documents);

  std::size_t size() const { return offsets_.size() - 1; }
  SparseRow<T> row(std::size_t d) const { return CsrView<T>(offsets_, words_, counts_, 0).row(d); }

 private:
  std::vector<std::int64_t> offsets_{0};
  std::vector<std::int32_t> words_;
  std::vector<T> counts_;
};

// What all ranks know of the documents they hold together.
struct CorpusSummary {
  double n_tokens = 0;
  std::uint64_t n_entries = 0;
  std::uint64_t n_documents = 0;
  std::uint64_t first_document = 0;  // number of this rank's first document over all ranks
};

// Collective. InvalidArgument if a count is negative or not finite, or if there is no token at all.
template <class T>
CorpusSummary summarise_corpus(CsrView<T> documents, Link& link);

}  // namespace steppe
