#include "steppe/io/svmlight.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "steppe/io/svmlight_parser.hpp"

namespace steppe::io {

namespace {

// Where each part's rows, features and labels start in the whole.
template <class T>
struct Starts {
  std::vector<std::size_t> rows, features, labels;

  explicit Starts(const std::vector<SvmlightData<T>>& parts) : rows{0}, features{0}, labels{0} {
    for (const auto& part : parts) {
      rows.push_back(rows.back() + part.row_offsets.size());
      features.push_back(features.back() + part.indices.size());
      labels.push_back(labels.back() + part.labels.size());
    }
  }
};

template <class V>
void place(const Column<V>& part, std::size_t start, Column<V>& whole) {
  std::copy(part.begin(), part.end(), whole.begin() + static_cast<std::ptrdiff_t>(start));
}

// A part's row ends become the offsets of the rows after them.
void place_ends(const Column<std::int64_t>& ends, std::size_t row, std::size_t before, Column<std::int64_t>& offsets) {
  for (std::size_t i = 0; i < ends.size(); ++i) offsets[row + i + 1] = ends[i] + static_cast<std::int64_t>(before);
}

// Copies the parts side by side, on all threads; each is freed as soon as it is copied.
template <class T>
void join(std::vector<SvmlightData<T>>& parts, const SvmlightOptions& options, Team& team, SvmlightData<T>& whole) {
  const Starts<T> starts(parts);
  whole.row_offsets.resize(starts.rows.back() + 1);
  whole.row_offsets.front() = 0;
  whole.indices.resize(starts.features.back());
  whole.values.resize(starts.features.back());
  whole.labels.resize(starts.labels.back());
  if (options.multilabel) whole.label_offsets.assign(starts.rows.back() + 1, 0);
  if (options.query_id) whole.query_ids.resize(starts.rows.back());
  team.parallel_for(parts.size(), 1, [&](std::size_t first, std::size_t last, std::uint32_t) {
    for (std::size_t i = first; i < last; ++i) {
      SvmlightData<T> part = std::move(parts[i]);
      place_ends(part.row_offsets, starts.rows[i], starts.features[i], whole.row_offsets);
      place_ends(part.label_offsets, starts.rows[i], starts.labels[i], whole.label_offsets);
      place(part.indices, starts.features[i], whole.indices);
      place(part.values, starts.features[i], whole.values);
      place(part.labels, starts.labels[i], whole.labels);
      place(part.query_ids, starts.rows[i], whole.query_ids);
    }
  });
}

}  // namespace

template <class T>
SvmlightData<T> read_svmlight(const ByteSource& source, const SvmlightOptions& options, Team& team, Control& control) {
  const std::uint64_t size = source.size();
  const std::uint64_t offset = std::min(options.offset, size);
  const std::uint64_t begin = line_start_after(source, offset);
  const std::uint64_t end = options.length >= size - offset ? size : line_start_after(source, offset + options.length);
  const std::vector<std::uint64_t> cuts = cut_at_lines(source, begin, end, options.piece_bytes);

  std::vector<SvmlightParser<T>> parsers;
  for (std::uint32_t member = 0; member < team.size(); ++member) parsers.emplace_back(options);
  std::vector<SvmlightData<T>> parts(cuts.size() - 1);
  SvmlightData<T> whole;
  whole.stopped = parse_pieces(
      source, cuts, team, control,
      [&](const Piece& piece) { parts[piece.number] = parsers[piece.member].parse(piece.text); }, options.lines_before);
  for (const auto& part : parts) {
    whole.n_rows += part.n_rows;
    whole.n_nonzeros += part.n_nonzeros;
    whole.n_lines += part.n_lines;
    whole.lowest_index = std::min(whole.lowest_index, part.lowest_index);
    whole.highest_index = std::max(whole.highest_index, part.highest_index);
  }
  if (options.keep) join(parts, options, team, whole);
  return whole;
}

template SvmlightData<float> read_svmlight(const ByteSource&, const SvmlightOptions&, Team&, Control&);
template SvmlightData<double> read_svmlight(const ByteSource&, const SvmlightOptions&, Team&, Control&);

}  // namespace steppe::io
