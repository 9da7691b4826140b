#include "steppe/io/bag_of_words.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "steppe/io/bag_of_words_parser.hpp"

namespace steppe::io {

namespace {

constexpr std::uint64_t kBlockBytes = 1 << 16;

// Where the next document starts after the one that the line at `position` belongs to. Lines that start with no
// number belong to whatever is before them: the parser refuses those that are not blank.
std::uint64_t next_document(const ByteSource& source, std::uint64_t position) {
  std::int64_t document = -1;
  Column<char> block;
  while (position < source.size()) {
    const std::uint64_t end = next_line(source, std::min(position + kBlockBytes, source.size()));
    const auto size = static_cast<std::size_t>(end - position);
    block.resize(size + kPieceSlack);
    source.read(position, {block.data(), size});
    std::fill_n(block.data() + size, kPieceSlack, '\n');
    const char* const stop = block.data() + size;
    for (const char* line = block.data(); line < stop; line = std::find(line, stop, '\n') + 1) {
      const std::int64_t number = leading_number(line);
      if (number < 0 || number == document) continue;
      if (document >= 0) return position + static_cast<std::uint64_t>(line - block.data());
      document = number;
    }
    position = end;
  }
  return source.size();
}

// The first start of a document after `position` (of those that next_document finds); non-decreasing, so adjacent
// ranges share no document and lose none.
std::uint64_t document_start_after(const ByteSource& source, const BagOfWordsOptions& options, std::uint64_t position) {
  if (position <= options.header_bytes) return options.header_bytes;
  const std::uint64_t line = line_start_after(source, position);
  return options.format == BagFormat::lda_c ? line : next_document(source, line);
}

std::vector<std::uint64_t> cut_at_documents(const ByteSource& source, const BagOfWordsOptions& options) {
  const std::uint64_t size = source.size();
  const std::uint64_t offset = std::min(options.offset, size);
  const std::uint64_t begin = document_start_after(source, options, offset);
  const std::uint64_t end =
      options.length >= size - offset ? size : document_start_after(source, options, offset + options.length);
  std::vector<std::uint64_t> cuts{begin};
  while (cuts.back() < end) {
    const std::uint64_t wanted = cuts.back() + options.piece_bytes;
    cuts.push_back(wanted >= end ? end : std::min(end, document_start_after(source, options, wanted)));
  }
  return cuts;
}

// Where each part's rows and pairs start in the whole; between uci's parts there are rows for documents without words.
struct Starts {
  std::vector<std::size_t> rows, pairs{0};
  std::size_t n_rows = 0;
};

Starts find_starts(const std::vector<BagOfWordsData>& parts, const std::vector<std::uint64_t>& cuts,
                   const ByteSource& source, const BagOfWordsOptions& options, std::int64_t first_document) {
  Starts starts;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const BagOfWordsData& part = parts[i];
    if (options.format == BagFormat::uci && part.n_rows > 0) {
      const std::int64_t before = part.first_document - first_document - static_cast<std::int64_t>(starts.n_rows);
      if (before < 0) {
        throw InvalidArgument(source.name() + ", line " +
                              std::to_string(options.lines_before + line_number(source, cuts[i])) + ": document " +
                              std::to_string(part.first_document + options.first) +
                              " comes after a later one; sort the lines by document");
      }
      starts.n_rows += static_cast<std::size_t>(before);
    }
    starts.rows.push_back(starts.n_rows);
    starts.pairs.push_back(starts.pairs.back() + part.words.size());
    starts.n_rows += part.n_rows;
  }
  return starts;
}

// Copies the parts side by side, on all threads; each is freed as soon as it is copied.
void join(std::vector<BagOfWordsData>& parts, const Starts& starts, Team& team, BagOfWordsData& whole) {
  whole.row_offsets.resize(starts.n_rows + 1);
  whole.words.resize(starts.pairs.back());
  whole.counts.resize(starts.pairs.back());
  whole.row_offsets[0] = 0;
  team.parallel_for(parts.size(), 1, [&](std::size_t first, std::size_t last, std::uint32_t) {
    for (std::size_t i = first; i < last; ++i) {
      const BagOfWordsData part = std::move(parts[i]);
      const auto before = static_cast<std::int64_t>(starts.pairs[i]);
      std::int64_t* const offsets = whole.row_offsets.data() + 1;
      for (std::size_t row = 0; row < part.n_rows; ++row)
        offsets[starts.rows[i] + row] = before + part.row_offsets[row];
      // Then the documents without words up to the next part.
      const std::size_t next = i + 1 < starts.rows.size() ? starts.rows[i + 1] : starts.n_rows;
      for (std::size_t row = starts.rows[i] + part.n_rows; row < next; ++row) {
        offsets[row] = before + static_cast<std::int64_t>(part.words.size());
      }
      std::copy(part.words.begin(), part.words.end(), whole.words.begin() + before);
      std::copy(part.counts.begin(), part.counts.end(), whole.counts.begin() + before);
    }
  });
}

}  // namespace

BagOfWordsData read_bag_of_words(const ByteSource& source, const BagOfWordsOptions& options, Team& team,
                                 Control& control) {
  const std::vector<std::uint64_t> cuts = cut_at_documents(source, options);
  std::vector<BagOfWordsParser> parsers(team.size(), BagOfWordsParser(options));
  std::vector<BagOfWordsData> parts(cuts.size() - 1);
  BagOfWordsData whole;
  whole.stopped = parse_pieces(
      source, cuts, team, control,
      [&](const Piece& piece) { parts[piece.number] = parsers[piece.member].parse(piece.text); }, options.lines_before);
  const auto filled = std::find_if(parts.begin(), parts.end(), [](const auto& part) { return part.n_rows > 0; });
  if (filled != parts.end()) whole.first_document = filled->first_document;
  for (const auto& part : parts) {
    whole.n_lines += part.n_lines;
    whole.n_pairs += part.n_pairs;
    whole.highest_word = std::max(whole.highest_word, part.highest_word);
  }
  const Starts starts = find_starts(parts, cuts, source, options, whole.first_document);
  whole.n_rows = starts.n_rows;
  if (options.keep) join(parts, starts, team, whole);
  return whole;
}

std::size_t last_document_start(std::string_view text) {
  std::size_t start = text.size();
  std::int64_t document = -1;
  while (start > 0) {
    const std::size_t line_end = text[start - 1] == '\n' ? start - 1 : start;
    const std::size_t before = line_end == 0 ? std::string_view::npos : text.rfind('\n', line_end - 1);
    const std::size_t line = before == std::string_view::npos ? 0 : before + 1;
    std::string copy(text.substr(line, line_end - line));
    copy.append(kPieceSlack, '\n');
    const std::int64_t number = leading_number(copy.c_str());
    if (number >= 0 && document >= 0 && number != document) return start;
    if (number >= 0) document = number;
    start = line;
  }
  return 0;
}

}  // namespace steppe::io
