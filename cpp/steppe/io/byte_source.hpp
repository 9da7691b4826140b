#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace steppe::io {

// Bytes that many threads may read at once. `name` is what error messages call them.
class ByteSource {
 public:
  explicit ByteSource(std::string name) : name_(std::move(name)) {}
  virtual ~ByteSource() = default;

  const std::string& name() const noexcept { return name_; }
  virtual std::uint64_t size() const = 0;
  // Fills `into` with the bytes from `position` on; the caller asks for no byte beyond size().
  virtual void read(std::uint64_t position, std::span<char> into) const = 0;

 private:
  std::string name_;
};

// Text in memory, which the caller keeps alive.
class MemorySource final : public ByteSource {
 public:
  MemorySource(std::string name, std::string_view text) : ByteSource(std::move(name)), text_(text) {}
  std::uint64_t size() const override { return text_.size(); }
  void read(std::uint64_t position, std::span<char> into) const override;

 private:
  std::string_view text_;
};

// An open regular file; the caller closes it. Read with pread, not mapped: an input/output error or a file
// cut short by somebody else must be an exception, and a mapping would turn it into a signal.
class FileSource final : public ByteSource {
 public:
  FileSource(std::string name, int descriptor);
  std::uint64_t size() const override { return size_; }
  void read(std::uint64_t position, std::span<char> into) const override;

 private:
  int descriptor_;
  std::uint64_t size_;
};

// Just after the first line end at or after `position`, or the end of the source: where the next line starts.
std::uint64_t next_line(const ByteSource& source, std::uint64_t position);

// The first line start after `position`, or the end of the source; 0 stays 0. Lines that start in (a, b] are
// those between line_start_after(a) and line_start_after(b), so adjacent ranges share no line and lose none.
std::uint64_t line_start_after(const ByteSource& source, std::uint64_t position);

// Line starts that cut [begin, end) into pieces of about `piece_bytes`; begin and end must be line starts
// themselves.
std::vector<std::uint64_t> cut_at_lines(const ByteSource& source, std::uint64_t begin, std::uint64_t end,
                                        std::uint64_t piece_bytes);

// Number of the line (from 1) that holds this position: counts line ends from the start, so only for error
// messages.
std::uint64_t line_number(const ByteSource& source, std::uint64_t position);

}  // namespace steppe::io
