#include "steppe/io/byte_source.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "steppe/core/errors.hpp"

namespace steppe::io {

namespace {

constexpr std::size_t kSearchBytes = 4096;  // longer than most lines
constexpr std::size_t kCountBytes = 1 << 18;

// Calls visit(text, position) on successive blocks from `position` to `end` until it returns true.
template <class Visit>
void scan(const ByteSource& source, std::uint64_t position, std::uint64_t end, std::size_t block_bytes, Visit visit) {
  std::vector<char> block(block_bytes);
  while (position < end) {
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(block_bytes, end - position));
    source.read(position, {block.data(), size});
    if (visit(std::string_view(block.data(), size), position)) return;
    position += size;
  }
}

}  // namespace

void MemorySource::read(std::uint64_t position, std::span<char> into) const {
  if (!into.empty()) std::memcpy(into.data(), text_.data() + position, into.size());
}

FileSource::FileSource(std::string name, int descriptor) : ByteSource(std::move(name)), descriptor_(descriptor) {
  struct stat status{};
  if (fstat(descriptor, &status) != 0) throw std::system_error(errno, std::generic_category(), this->name());
  size_ = static_cast<std::uint64_t>(status.st_size);
}

void FileSource::read(std::uint64_t position, std::span<char> into) const {
  while (!into.empty()) {
    const ssize_t got = pread(descriptor_, into.data(), into.size(), static_cast<off_t>(position));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw std::system_error(errno, std::generic_category(), name());
    if (got == 0) throw InvalidArgument(name() + ": the file became shorter while it was read; load it again");
    position += static_cast<std::uint64_t>(got);
    into = into.subspan(static_cast<std::size_t>(got));
  }
}

std::uint64_t next_line(const ByteSource& source, std::uint64_t position) {
  std::uint64_t found = source.size();
  scan(source, position, source.size(), kSearchBytes, [&](std::string_view text, std::uint64_t at) {
    const std::size_t end_of_line = text.find('\n');
    if (end_of_line == std::string_view::npos) return false;
    found = at + end_of_line + 1;
    return true;
  });
  return found;
}

std::uint64_t line_start_after(const ByteSource& source, std::uint64_t position) {
  return position == 0 ? 0 : next_line(source, position);
}

std::vector<std::uint64_t> cut_at_lines(const ByteSource& source, std::uint64_t begin, std::uint64_t end,
                                        std::uint64_t piece_bytes) {
  std::vector<std::uint64_t> cuts{begin};
  while (end - cuts.back() > piece_bytes) {
    const std::uint64_t cut = std::min(line_start_after(source, cuts.back() + piece_bytes), end);
    if (cut == end) break;
    cuts.push_back(cut);
  }
  if (cuts.back() != end) cuts.push_back(end);
  return cuts;
}

std::uint64_t line_number(const ByteSource& source, std::uint64_t position) {
  std::uint64_t line_ends = 0;
  scan(source, 0, position, kCountBytes, [&](std::string_view text, std::uint64_t) {
    line_ends += static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n'));
    return false;
  });
  return line_ends + 1;
}

}  // namespace steppe::io
