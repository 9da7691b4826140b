#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "steppe/core/errors.hpp"
#include "steppe/io/byte_source.hpp"
#include "steppe/runtime/control.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe::io {

// A line that is not what the format says. The parser knows the place in its piece only; parse_pieces adds
// the file's name and the line's number.
class MalformedLine : public InvalidArgument {
 public:
  MalformedLine(const char* place, const std::string& what) : InvalidArgument(what), place_(place) {}
  const char* place() const noexcept { return place_; }

 private:
  const char* place_;
};

// Readable bytes that follow the text of a piece: a line end, so that parsers need no bound, and room to load
// words.
inline constexpr std::size_t kPieceSlack = 16;

struct Piece {
  std::size_t number;
  std::uint32_t member;   // of the team: whose scratch may be used
  std::string_view text;  // whole lines; the last one may lack its line end, but kPieceSlack line ends follow
};

// Reads the pieces between `cuts` and hands each to `parse`, on whichever thread is free. Polls control
// meanwhile and returns true if it asked to stop. Of several malformed lines the first in the file is
// reported, whatever the number of threads; `lines_before` is added to its number.
bool parse_pieces(const ByteSource& source, const std::vector<std::uint64_t>& cuts, Team& team, Control& control,
                  const std::function<void(const Piece&)>& parse, std::uint64_t lines_before = 0);

// A token, quoted for an error message: printable ASCII, shortened.
std::string quoted(const char* token);

}  // namespace steppe::io
