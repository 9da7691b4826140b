#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "bindings/control.hpp"
#include "bindings/registers.hpp"
#include "steppe/core/errors.hpp"
#include "steppe/io/bag_of_words.hpp"
#include "steppe/io/ratings.hpp"
#include "steppe/io/svmlight.hpp"

namespace steppe::bindings {
namespace {

namespace py = pybind11;

// A NumPy array of the vector's own memory.
template <class T>
py::array_t<T> as_array(io::Column<T>&& column) {
  auto kept = std::make_unique<io::Column<T>>(std::move(column));
  T* const data = kept->data();
  const auto size = static_cast<py::ssize_t>(kept->size());
  const py::capsule owner(kept.release(), [](void* p) { delete static_cast<io::Column<T>*>(p); });
  return py::array_t<T>(size, data, owner);
}

// An int is the descriptor of an open regular file, anything else a buffer of bytes.
class Source {
 public:
  Source(const py::object& source, std::string name) {
    if (py::isinstance<py::int_>(source)) {
      bytes_ = std::make_unique<io::FileSource>(std::move(name), source.cast<int>());
      return;
    }
    buffer_ = py::buffer(source).request();
    const std::string_view text(static_cast<const char*>(buffer_.ptr),
                                static_cast<std::size_t>(buffer_.size * buffer_.itemsize));
    bytes_ = std::make_unique<io::MemorySource>(std::move(name), text);
  }
  const io::ByteSource& operator*() const { return *bytes_; }

 private:
  py::buffer_info buffer_;
  std::unique_ptr<io::ByteSource> bytes_;
};

template <class T>
py::dict svmlight_dict(const Source& source, const io::SvmlightOptions& options, std::uint32_t n_threads) {
  PythonControl control;
  auto data = control.run([&] {
    Team team(n_threads);
    return io::read_svmlight<T>(*source, options, team, control);
  });
  py::dict arrays;
  arrays["n_rows"] = data.n_rows;
  arrays["n_nonzeros"] = data.n_nonzeros;
  arrays["n_lines"] = data.n_lines;
  arrays["lowest_index"] = data.lowest_index;
  arrays["highest_index"] = data.highest_index;
  arrays["row_offsets"] = as_array(std::move(data.row_offsets));
  arrays["indices"] = as_array(std::move(data.indices));
  arrays["values"] = as_array(std::move(data.values));
  arrays["labels"] = as_array(std::move(data.labels));
  arrays["label_offsets"] = as_array(std::move(data.label_offsets));
  arrays["query_ids"] = as_array(std::move(data.query_ids));
  return arrays;
}

py::dict read_svmlight(const py::object& source, std::string name, bool float64, std::uint64_t offset,
                       std::uint64_t length, std::uint64_t lines_before, std::int32_t lowest_index, bool multilabel,
                       bool query_id, bool keep, std::uint64_t piece_bytes, std::uint32_t n_threads) {
  const Source bytes(source, std::move(name));
  io::SvmlightOptions options;
  options.offset = offset;
  options.length = length;
  options.lines_before = lines_before;
  options.piece_bytes = piece_bytes;
  options.lowest_index = lowest_index;
  options.multilabel = multilabel;
  options.query_id = query_id;
  options.keep = keep;
  return float64 ? svmlight_dict<double>(bytes, options, n_threads) : svmlight_dict<float>(bytes, options, n_threads);
}

// Numbers as an array; texts as a list, which Python decodes.
py::object as_object(io::IdList&& ids) {
  if (ids.integers) return as_array(std::move(ids.numbers));
  py::list texts;
  for (const std::string& text : ids.texts) texts.append(py::bytes(text));
  return texts;
}

template <class T>
py::dict ratings_dict(const Source& source, const io::RatingsOptions& options, std::uint32_t n_threads) {
  PythonControl control;
  auto data = control.run([&] {
    Team team(n_threads);
    return io::read_ratings<T>(*source, options, team, control);
  });
  py::dict arrays;
  arrays["row_offsets"] = as_array(std::move(data.row_offsets));
  arrays["items"] = as_array(std::move(data.items));
  arrays["values"] = as_array(std::move(data.values));
  arrays["user_ids"] = as_object(std::move(data.user_ids));
  arrays["item_ids"] = as_object(std::move(data.item_ids));
  return arrays;
}

io::Duplicates duplicates_named(const std::string& name) {
  if (name == "error") return io::Duplicates::refuse;
  if (name == "last") return io::Duplicates::last;
  if (name == "mean") return io::Duplicates::mean;
  if (name == "sum") return io::Duplicates::sum;
  throw InvalidArgument("duplicates: it must be 'error', 'last', 'mean' or 'sum', got '" + name + "'");
}

py::dict read_ratings(const py::object& source, std::string name, bool float64, std::string separator,
                      std::uint32_t user_column, std::uint32_t item_column, std::int32_t value_column,
                      std::uint32_t header_lines, const std::string& duplicates, std::uint64_t piece_bytes,
                      std::uint32_t n_threads) {
  const Source bytes(source, std::move(name));
  io::RatingsOptions options;
  options.separator = std::move(separator);
  options.user_column = user_column;
  options.item_column = item_column;
  options.value_column = value_column;
  options.header_lines = header_lines;
  options.duplicates = duplicates_named(duplicates);
  options.piece_bytes = piece_bytes;
  return float64 ? ratings_dict<double>(bytes, options, n_threads) : ratings_dict<float>(bytes, options, n_threads);
}

py::dict read_bag_of_words(const py::object& source, std::string name, const std::string& format,
                           std::uint64_t header_bytes, std::uint64_t offset, std::uint64_t length,
                           std::uint64_t lines_before, std::int32_t first, std::int64_t n_documents,
                           std::int64_t n_words, bool keep, std::uint64_t piece_bytes, std::uint32_t n_threads) {
  const Source bytes(source, std::move(name));
  io::BagOfWordsOptions options;
  options.format = format == "uci" ? io::BagFormat::uci : io::BagFormat::lda_c;
  options.header_bytes = header_bytes;
  options.offset = offset;
  options.length = length;
  options.lines_before = lines_before;
  options.piece_bytes = piece_bytes;
  options.first = first;
  options.n_documents = n_documents;
  options.n_words = n_words;
  options.keep = keep;
  PythonControl control;
  auto data = control.run([&] {
    Team team(n_threads);
    return io::read_bag_of_words(*bytes, options, team, control);
  });
  py::dict arrays;
  arrays["n_rows"] = data.n_rows;
  arrays["n_lines"] = data.n_lines;
  arrays["n_pairs"] = data.n_pairs;
  arrays["first_document"] = data.first_document;
  arrays["highest_word"] = data.highest_word;
  arrays["row_offsets"] = as_array(std::move(data.row_offsets));
  arrays["words"] = as_array(std::move(data.words));
  arrays["counts"] = as_array(std::move(data.counts));
  return arrays;
}

std::size_t last_document_start(const py::bytes& text) { return io::last_document_start(std::string_view(text)); }

}  // namespace

void register_datasets(py::module_& module) {
  using namespace py::literals;
  constexpr std::uint64_t kPieceBytes = 1 << 20;
  module.def("read_svmlight", &read_svmlight, "source"_a, "name"_a, py::kw_only(), "float64"_a, "offset"_a = 0,
             "length"_a = UINT64_MAX, "lines_before"_a = 0, "lowest_index"_a = 0, "multilabel"_a = false,
             "query_id"_a = false, "keep"_a = true, "piece_bytes"_a = kPieceBytes, "n_threads"_a,
             "Parse svmlight text from a file descriptor or a buffer of bytes; arrays and counts by name.");
  module.def("read_ratings", &read_ratings, "source"_a, "name"_a, py::kw_only(), "float64"_a, "separator"_a,
             "user_column"_a, "item_column"_a, "value_column"_a, "header_lines"_a, "duplicates"_a,
             "piece_bytes"_a = kPieceBytes, "n_threads"_a,
             "Parse ratings from a file descriptor or a buffer of bytes; compressed rows, and ids by name.");
  module.def("read_bag_of_words", &read_bag_of_words, "source"_a, "name"_a, py::kw_only(), "format"_a,
             "header_bytes"_a = 0, "offset"_a = 0, "length"_a = UINT64_MAX, "lines_before"_a = 0, "first"_a,
             "n_documents"_a = INT32_MAX, "n_words"_a = INT32_MAX, "keep"_a = true, "piece_bytes"_a = kPieceBytes,
             "n_threads"_a,
             "Parse counts of words (format 'uci' or 'lda-c') from a file descriptor or a buffer of bytes.");
  module.def("last_document_start", &last_document_start, "text"_a,
             "Where the last document of text in the UCI format starts.");
}

}  // namespace steppe::bindings
