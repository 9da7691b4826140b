#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "steppe/comm/wire.hpp"
#include "steppe/core/bytes.hpp"
#include "steppe/schedules/concepts.hpp"

namespace steppe {

enum class PacketKind : std::uint8_t {
  tokens,
  delta,  // carries the globals from shard to shard; its rows are empty
  wake,   // never leaves its inbox: ends a worker's sleep
};

struct PacketHeader {
  std::uint32_t id = 0;
  std::uint32_t n_tokens = 0;
  std::uint32_t round = 0;          // of this run
  std::uint32_t tour_position = 0;  // ranks of this round's tour already behind; for the delta packet: hops made
  std::uint32_t sequence = 0;       // visits in this run: the order that a replay follows
  PacketKind kind = PacketKind::tokens;
};

// A set of shards of one rank.
class ShardSet {
 public:
  void assign(std::span<const std::uint64_t> words) { words_.assign(words.begin(), words.end()); }
  void erase(std::uint32_t shard) noexcept { words_[shard / 64] &= ~(std::uint64_t{1} << (shard % 64)); }
  bool contains(std::uint32_t shard) const noexcept { return (words_[shard / 64] >> (shard % 64)) & 1; }
  bool empty() const noexcept {
    std::uint64_t any = 0;
    for (const std::uint64_t word : words_) any |= word;
    return any == 0;
  }

 private:
  std::vector<std::uint64_t> words_;
};

// Rows in a buffer that a link can carry away and bring as it is. New rows are not initialised.
template <class Row>
class RowBuffer {
 public:
  std::size_t size() const noexcept { return bytes_.size() / sizeof(Row); }
  Row* data() noexcept { return reinterpret_cast<Row*>(bytes_.data()); }
  const Row* data() const noexcept { return reinterpret_cast<const Row*>(bytes_.data()); }
  Row* begin() noexcept { return data(); }
  Row* end() noexcept { return data() + size(); }
  const Row* begin() const noexcept { return data(); }
  const Row* end() const noexcept { return data() + size(); }

  void reserve(std::size_t n) { bytes_.reserve(n * sizeof(Row)); }
  void resize(std::size_t n) { bytes_.resize(n * sizeof(Row)); }
  void clear() noexcept { bytes_.clear(); }
  void assign(std::span<const Row> rows) {
    resize(rows.size());
    std::ranges::copy(rows, begin());
  }
  Bytes release() noexcept { return std::exchange(bytes_, {}); }
  void adopt(Bytes bytes) noexcept { bytes_ = std::move(bytes); }

 private:
  Bytes bytes_;
};

template <class Row>
struct Packet {
  Packet* next = nullptr;  // of the inbox it waits in
  PacketHeader header;
  std::vector<std::uint32_t> ids;
  RowBuffer<Row> rows;
  std::vector<double> globals;  // of the delta packet
  ShardSet todo;                // shards of this rank still to visit in this round; never sent

  Bundle<Row> bundle(std::uint32_t row_size) noexcept { return {ids, rows.data(), row_size}; }
};

// Owns the packets of one rank, and gives those that left for another rank to those that arrive. Used by the calling
// thread only.
template <class Row>
class PacketPool {
 public:
  Packet<Row>* acquire() {
    if (free_.empty()) {
      all_.push_back(std::make_unique<Packet<Row>>());
      return all_.back().get();
    }
    Packet<Row>* packet = free_.back();
    free_.pop_back();
    return packet;
  }
  void release(Packet<Row>* packet) { free_.push_back(packet); }

 private:
  std::vector<std::unique_ptr<Packet<Row>>> all_;
  std::vector<Packet<Row>*> free_;
};

// On the wire: header, ids, globals, rows. Nothing else, whatever the schedule. Rows may also travel as a frame of
// their own right behind the rest, without being copied.
template <class Row>
void pack_head(const Packet<Row>& packet, WireWriter& wire) {
  wire.put(packet.header);
  wire.put(std::span<const std::uint32_t>(packet.ids));
  wire.put(std::span<const double>(packet.globals));
}

template <class Row>
void pack(const Packet<Row>& packet, WireWriter& wire) {
  pack_head(packet, wire);
  wire.put(std::span<const Row>(packet.rows));
}

template <class Row>
void unpack_head(Packet<Row>& packet, WireReader& wire, std::uint32_t n_globals) {
  packet.header = wire.get<PacketHeader>();
  packet.ids.resize(packet.header.n_tokens);
  packet.globals.resize(packet.header.kind == PacketKind::delta ? n_globals : 0);
  wire.get(std::span<std::uint32_t>(packet.ids));
  wire.get(std::span<double>(packet.globals));
}

template <class Row>
void unpack(Packet<Row>& packet, WireReader& wire, std::uint32_t row_size, std::uint32_t n_globals) {
  unpack_head(packet, wire, n_globals);
  packet.rows.resize(std::size_t{packet.header.n_tokens} * row_size);
  wire.get(std::span<Row>(packet.rows));
}

}  // namespace steppe
