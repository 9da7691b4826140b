#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "steppe/io/column.hpp"

namespace steppe::io {

// Numbers the distinct ids that one thread meets, in the order it meets them. Open addressing; the texts lie
// one after the other in one string.
class IdTable {
 public:
  IdTable() : slots_(64, kFree) {}

  std::int32_t code(std::string_view id);
  std::size_t size() const noexcept { return ends_.size(); }
  std::string_view text(std::size_t code) const noexcept {
    const std::size_t begin = code == 0 ? 0 : ends_[code - 1];
    return std::string_view(texts_).substr(begin, ends_[code] - begin);
  }

 private:
  static constexpr std::int32_t kFree = -1;

  std::size_t find_slot(std::string_view id) const noexcept;
  void grow();

  std::string texts_;
  std::vector<std::size_t> ends_;
  std::vector<std::int32_t> slots_;  // a power of two of them, at most half full
  std::int32_t last_ = kFree;        // files are often sorted by user: the same id again needs no search
};

// The distinct ids of a column, sorted: as numbers if all are integers, else as text.
struct IdList {
  bool integers = true;
  Column<std::int64_t> numbers;
  std::vector<std::string> texts;

  std::size_t size() const noexcept { return integers ? numbers.size() : texts.size(); }
  std::string name(std::size_t code) const { return integers ? std::to_string(numbers[code]) : texts[code]; }
};

// Unites the tables of all threads; codes[t][c] is the place in the list of what table t calls c.
IdList unite(const std::vector<const IdTable*>& tables, std::vector<std::vector<std::int32_t>>& codes);

}  // namespace steppe::io
