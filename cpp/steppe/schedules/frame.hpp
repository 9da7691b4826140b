#pragma once

#include <cstdint>

#include "steppe/comm/wire.hpp"

namespace steppe {

enum class FrameKind : std::uint8_t {
  packets,  // any number of packets
  end,      // the sender's last frame of this run
  alive,    // nothing to say, but still there
  met,      // the sender has come to where all ranks meet
};

enum class RunStatus : std::uint8_t { ok, stopped, failed };

// The first bytes of every message between ranks. A frame of another run is a bug, so each carries its run.
struct FrameHeader {
  std::uint32_t run = 0;
  FrameKind kind = FrameKind::packets;
  RunStatus status = RunStatus::ok;
};

inline Bytes open_frame(const FrameHeader& header) {
  Bytes bytes;
  WireWriter(bytes).put(header);
  return bytes;
}

inline FrameHeader read_header(WireReader& wire, std::uint32_t expected_run) {
  const auto header = wire.get<FrameHeader>();
  invariant(header.run == expected_run, "a frame of another run arrived");
  return header;
}

}  // namespace steppe
