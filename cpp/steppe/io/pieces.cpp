#include "steppe/io/pieces.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "steppe/io/column.hpp"

namespace steppe::io {

namespace {

// The failure nearest to the start of the file.
class FirstFailure {
 public:
  void note(std::uint64_t position, const char* what) {
    const std::lock_guard lock(mutex_);
    if (!failed_ || position < position_) {
      failed_ = true;
      position_ = position;
      what_ = what;
    }
  }
  void raise(const ByteSource& source, std::uint64_t lines_before) const {
    if (!failed_) return;
    const std::uint64_t line = lines_before + line_number(source, position_);
    throw InvalidArgument(source.name() + ", line " + std::to_string(line) + ": " + what_);
  }

 private:
  std::mutex mutex_;
  bool failed_ = false;
  std::uint64_t position_ = 0;
  std::string what_;
};

}  // namespace

bool parse_pieces(const ByteSource& source, const std::vector<std::uint64_t>& cuts, Team& team, Control& control,
                  const std::function<void(const Piece&)>& parse, std::uint64_t lines_before) {
  const std::size_t n_pieces = cuts.size() - 1;
  std::atomic<std::size_t> next{0};
  FirstFailure failure;
  const Team::Job job = [&](std::uint32_t member) {
    Column<char> text;
    for (std::size_t number; (number = next.fetch_add(1, std::memory_order_relaxed)) < n_pieces;) {
      const auto size = static_cast<std::size_t>(cuts[number + 1] - cuts[number]);
      text.resize(size + kPieceSlack);
      source.read(cuts[number], {text.data(), size});
      std::fill_n(text.data() + size, kPieceSlack, '\n');
      try {
        parse({number, member, {text.data(), size}});
      } catch (const MalformedLine& line) {
        failure.note(cuts[number] + static_cast<std::uint64_t>(line.place() - text.data()), line.what());
        next.store(n_pieces, std::memory_order_relaxed);  // earlier pieces are all begun, so the first failure is met
      }
    }
  };
  const bool stopped = team.run(job, control, [&] { next.store(n_pieces, std::memory_order_relaxed); });
  failure.raise(source, lines_before);
  return stopped;
}

std::string quoted(const char* token) {
  constexpr std::size_t kShown = 40;
  std::string shown = "'";
  for (; *token != '\n' && *token != ' ' && *token != '\t' && *token != '\r'; ++token) {
    if (shown.size() > kShown) return shown + "...'";
    const auto byte = static_cast<unsigned char>(*token);
    if (byte >= 0x20 && byte < 0x7F) {
      shown += *token;
    } else {
      constexpr char kHex[] = "0123456789abcdef";
      shown += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return shown + "'";
}

}  // namespace steppe::io
