#include "steppe/io/id_table.hpp"

#include <algorithm>
#include <charconv>
#include <functional>
#include <optional>

#include "steppe/core/errors.hpp"

namespace steppe::io {

std::int32_t IdTable::code(std::string_view id) {
  if (last_ != kFree && text(static_cast<std::size_t>(last_)) == id) return last_;
  std::size_t slot = find_slot(id);
  if (slots_[slot] == kFree) {
    if (2 * (size() + 1) > slots_.size()) {
      grow();
      slot = find_slot(id);
    }
    require(size() < INT32_MAX, "a file holds more than 2147483647 distinct ids");
    slots_[slot] = static_cast<std::int32_t>(size());
    texts_.append(id);
    ends_.push_back(texts_.size());
  }
  return last_ = slots_[slot];
}

std::size_t IdTable::find_slot(std::string_view id) const noexcept {
  const std::size_t mask = slots_.size() - 1;
  std::size_t slot = std::hash<std::string_view>{}(id)&mask;
  while (slots_[slot] != kFree && text(static_cast<std::size_t>(slots_[slot])) != id) slot = (slot + 1) & mask;
  return slot;
}

void IdTable::grow() {
  slots_.assign(2 * slots_.size(), kFree);
  for (std::size_t code = 0; code < size(); ++code) {
    slots_[find_slot(text(code))] = static_cast<std::int32_t>(code);
  }
}

namespace {

std::optional<std::int64_t> as_integer(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<std::vector<std::vector<std::int64_t>>> as_integers(const std::vector<const IdTable*>& tables) {
  std::vector<std::vector<std::int64_t>> numbers(tables.size());
  for (std::size_t t = 0; t < tables.size(); ++t) {
    for (std::size_t code = 0; code < tables[t]->size(); ++code) {
      const auto number = as_integer(tables[t]->text(code));
      if (!number) return std::nullopt;
      numbers[t].push_back(*number);
    }
  }
  return numbers;
}

// Sorts the distinct keys into `list` and tells each table's keys their place in it.
template <class Key, class List>
void rank_keys(const std::vector<std::vector<Key>>& keys, List& list, std::vector<std::vector<std::int32_t>>& codes) {
  std::vector<Key> distinct;
  for (const auto& part : keys) distinct.insert(distinct.end(), part.begin(), part.end());
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  codes.assign(keys.size(), {});
  for (std::size_t t = 0; t < keys.size(); ++t) {
    for (const Key& key : keys[t]) {
      const auto place = std::lower_bound(distinct.begin(), distinct.end(), key);
      codes[t].push_back(static_cast<std::int32_t>(place - distinct.begin()));
    }
  }
  list.assign(distinct.begin(), distinct.end());
}

}  // namespace

IdList unite(const std::vector<const IdTable*>& tables, std::vector<std::vector<std::int32_t>>& codes) {
  IdList list;
  if (const auto numbers = as_integers(tables)) {
    rank_keys(*numbers, list.numbers, codes);
    return list;
  }
  list.integers = false;
  std::vector<std::vector<std::string_view>> texts(tables.size());
  for (std::size_t t = 0; t < tables.size(); ++t) {
    for (std::size_t code = 0; code < tables[t]->size(); ++code) texts[t].push_back(tables[t]->text(code));
  }
  rank_keys(texts, list.texts, codes);
  return list;
}

}  // namespace steppe::io
