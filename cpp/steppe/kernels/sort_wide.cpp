#include "steppe/kernels/sort_wide.hpp"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <type_traits>
#include <utility>

// Quicksort whose partition packs the lanes on either side of the pivot (AVX-512 compress), down to blocks that a
// bitonic network sorts inside registers. Every function is compiled for x86-64-v4; kernels/sort.cpp asks the machine.
namespace steppe::kernels {
namespace {

template <class K>
struct WideOf {
  typedef K type __attribute__((vector_size(64)));
};
template <class K>
using Wide = typename WideOf<K>::type;
template <class K>
inline constexpr std::size_t kWide = 64 / sizeof(K);
template <class K>
using Mask = std::conditional_t<sizeof(K) == 4, __mmask16, __mmask8>;

template <class K>
__attribute__((always_inline, target("arch=x86-64-v4"))) inline Wide<K> load(const K* from) {
  return (Wide<K>)_mm512_loadu_si512(from);
}
template <class K>
__attribute__((always_inline, target("arch=x86-64-v4"))) inline void store(K* to, Wide<K> v) {
  _mm512_storeu_si512(to, (__m512i)v);
}
template <class K>
__attribute__((always_inline, target("arch=x86-64-v4"))) inline Wide<K> all(K value) {
  if constexpr (sizeof(K) == 4) return (Wide<K>)_mm512_set1_epi32(value);
  if constexpr (sizeof(K) == 8) return (Wide<K>)_mm512_set1_epi64(value);
}
// The lanes of `lanes` from memory, the others from `rest`; memory of the others is not touched.
template <class K>
__attribute__((always_inline, target("arch=x86-64-v4"))) inline Wide<K> load_some(const K* from, Mask<K> lanes,
                                                                                  Wide<K> rest) {
  if constexpr (sizeof(K) == 4) {
    return (Wide<K>)_mm512_mask_loadu_epi32((__m512i)rest, lanes, from);
  } else {
    return (Wide<K>)_mm512_mask_loadu_epi64((__m512i)rest, lanes, from);
  }
}
template <class K>
__attribute__((always_inline, target("arch=x86-64-v4"))) inline void store_some(K* to, Mask<K> lanes, Wide<K> v) {
  if constexpr (sizeof(K) == 4) {
    _mm512_mask_storeu_epi32(to, lanes, (__m512i)v);
  } else {
    _mm512_mask_storeu_epi64(to, lanes, (__m512i)v);
  }
}
template <class K>
__attribute__((always_inline, target("arch=x86-64-v4"))) inline Mask<K> not_above(Wide<K> v, Wide<K> pivot) {
  if constexpr (sizeof(K) == 4) return _mm512_cmple_epi32_mask((__m512i)v, (__m512i)pivot);
  if constexpr (sizeof(K) == 8) return _mm512_cmple_epi64_mask((__m512i)v, (__m512i)pivot);
}
// The first n lanes, n up to the number of lanes.
template <class K>
Mask<K> first_lanes(std::size_t n) {
  return static_cast<Mask<K>>((1u << n) - 1);
}
// The complement; GCC takes a detour over general registers for `~`.
template <class K>
__attribute__((always_inline, target("arch=x86-64-v4"))) inline Mask<K> above(Wide<K> v, Wide<K> pivot) {
  if constexpr (sizeof(K) == 4) return _mm512_cmpgt_epi32_mask((__m512i)v, (__m512i)pivot);
  if constexpr (sizeof(K) == 8) return _mm512_cmpgt_epi64_mask((__m512i)v, (__m512i)pivot);
}
// The chosen lanes, packed to the front. The instruction waits for the old value of its destination although it needs
// none of it; that the destination is the source, which compilers cannot be told otherwise, unties the iterations of
// a loop (twice the speed of a partition on Zen 5).
template <class K>
__attribute__((always_inline, target("arch=x86-64-v4"))) inline Wide<K> pack(Mask<K> lanes, Wide<K> v) {
  if constexpr (sizeof(K) == 4) {
    asm("vpcompressd %0, %0 %{%1%}%{z%}" : "+v"(v) : "Yk"(lanes));
  } else {
    asm("vpcompressq %0, %0 %{%1%}%{z%}" : "+v"(v) : "Yk"(lanes));
  }
  return v;
}
template <class K>
__attribute__((always_inline, target("arch=x86-64-v4"))) inline Wide<K> lower(Wide<K> a, Wide<K> b) {
  return a < b ? a : b;
}
template <class K>
__attribute__((always_inline, target("arch=x86-64-v4"))) inline Wide<K> higher(Wide<K> a, Wide<K> b) {
  return a > b ? a : b;
}
// The higher one in lanes whose number has the bit, the lower one in the others.
template <class K, std::size_t kBit>
__attribute__((always_inline, target("arch=x86-64-v4"))) inline Wide<K> ordered(Wide<K> a, Wide<K> b) {
  constexpr Mask<K> upper = [] {
    unsigned mask = 0;
    for (std::size_t lane = 0; lane < kWide<K>; ++lane) mask |= unsigned{(lane & kBit) != 0} << lane;
    return static_cast<Mask<K>>(mask);
  }();
  const auto low = (__m512i)lower<K>(a, b);
  if constexpr (sizeof(K) == 4) {
    return (Wide<K>)_mm512_mask_max_epi32(low, upper, (__m512i)a, (__m512i)b);
  } else {
    return (Wide<K>)_mm512_mask_max_epi64(low, upper, (__m512i)a, (__m512i)b);
  }
}
template <class K, std::size_t kXor, std::size_t... kLane>
__attribute__((always_inline, target("arch=x86-64-v4"))) inline Wide<K> exchange(Wide<K> v,
                                                                                 std::index_sequence<kLane...>) {
  return __builtin_shufflevector(v, v, (kLane ^ kXor)...);
}
// Lane l of the result is lane l ^ kXor of v.
template <class K, std::size_t kXor>
__attribute__((always_inline, target("arch=x86-64-v4"))) inline Wide<K> exchange(Wide<K> v) {
  return exchange<K, kXor>(v, std::make_index_sequence<kWide<K>>());
}
// Lanes of a and b in turn; the first or the second half of them.
template <class K, std::size_t kHalf, std::size_t... kLane>
__attribute__((always_inline, target("arch=x86-64-v4"))) inline Wide<K> zip(Wide<K> a, Wide<K> b,
                                                                            std::index_sequence<kLane...>) {
  return __builtin_shufflevector(a, b, (kHalf * kWide<K> / 2 + kLane / 2 + kLane % 2 * kWide<K>)...);
}

// --- the network: key number `lane * R + register` of R registers ---

template <class K>
__attribute__((always_inline, target("arch=x86-64-v4"))) inline void order(Wide<K>& a, Wide<K>& b) {
  const Wide<K> low = lower<K>(a, b);
  b = higher<K>(a, b);
  a = low;
}

// The steps of a bitonic merge at distances kStep, kStep / 2, ... 1 registers.
template <class K, std::size_t R, std::size_t kStep>
__attribute__((always_inline, target("arch=x86-64-v4"))) inline void merge_registers(Wide<K> (&v)[R]) {
  if constexpr (kStep >= 1) {
    for (std::size_t r = 0; r < R; ++r) {
      if ((r & kStep) == 0) order<K>(v[r], v[r + kStep]);
    }
    merge_registers<K, R, kStep / 2>(v);
  }
}

// Sorts each lane: runs of kSize registers from runs of half of it.
template <class K, std::size_t R, std::size_t kSize>
__attribute__((always_inline, target("arch=x86-64-v4"))) inline void sort_registers(Wide<K> (&v)[R]) {
  if constexpr (kSize <= R) {
    for (std::size_t r = 0; r < R; ++r) {
      if ((r & (kSize / 2)) == 0) order<K>(v[r], v[r ^ (kSize - 1)]);
    }
    merge_registers<K, R, kSize / 4>(v);
    sort_registers<K, R, kSize * 2>(v);
  }
}

template <class K, std::size_t R, std::size_t kStep>
__attribute__((always_inline, target("arch=x86-64-v4"))) inline void merge_lanes(Wide<K> (&v)[R]) {
  if constexpr (kStep >= 1) {
    for (std::size_t r = 0; r < R; ++r) v[r] = ordered<K, kStep>(v[r], exchange<K, kStep>(v[r]));
    merge_lanes<K, R, kStep / 2>(v);
  }
}

// Merges runs of kSize / 2 lanes into runs of kSize lanes, until one run is left.
template <class K, std::size_t R, std::size_t kSize>
__attribute__((always_inline, target("arch=x86-64-v4"))) inline void sort_lanes(Wide<K> (&v)[R]) {
  if constexpr (kSize <= kWide<K>) {
    if constexpr (R == 1) {
      v[0] = ordered<K, kSize / 2>(v[0], exchange<K, kSize - 1>(v[0]));
    } else {
      for (std::size_t r = 0; r < R / 2; ++r) {
        const Wide<K> a = v[r], b = v[R - 1 - r];
        v[r] = ordered<K, kSize / 2>(a, exchange<K, kSize - 1>(b));
        v[R - 1 - r] = ordered<K, kSize / 2>(b, exchange<K, kSize - 1>(a));
      }
    }
    merge_lanes<K, R, kSize / 4>(v);
    merge_registers<K, R, R / 2>(v);
    sort_lanes<K, R, kSize * 2>(v);
  }
}

// From key number `lane * R + register` to `register * lanes + lane`: a riffle of the two halves, log2(R) times.
template <class K, std::size_t R, std::size_t kTimes>
__attribute__((always_inline, target("arch=x86-64-v4"))) inline void riffle(Wide<K> (&v)[R]) {
  if constexpr (kTimes > 1) {
    Wide<K> w[R];
    for (std::size_t r = 0; r < R / 2; ++r) {
      w[2 * r] = zip<K, 0>(v[r], v[r + R / 2], std::make_index_sequence<kWide<K>>());
      w[2 * r + 1] = zip<K, 1>(v[r], v[r + R / 2], std::make_index_sequence<kWide<K>>());
    }
    for (std::size_t r = 0; r < R; ++r) v[r] = w[r];
    riffle<K, R, kTimes / 2>(v);
  }
}

// Sorts n keys, more than half and at most R registers of them, from one place to another or the same.
template <class K, std::size_t R>
__attribute__((noinline, target("arch=x86-64-v4"))) void sort_block(const K* from, K* to, std::size_t n) {
  constexpr std::size_t kFull = R / 2;  // registers that are full in any case
  const Wide<K> rest = all<K>(std::numeric_limits<K>::max());
  Wide<K> v[R];
  Mask<K> lanes[R];
  for (std::size_t r = 0; r < kFull; ++r) v[r] = load(from + r * kWide<K>);
  for (std::size_t r = kFull; r < R; ++r) {
    const std::size_t left = n > r * kWide<K> ? std::min(n - r * kWide<K>, kWide<K>) : 0;
    lanes[r] = first_lanes<K>(left);
    v[r] = load_some<K>(from + r * kWide<K>, lanes[r], rest);
  }
  sort_registers<K, R, 2>(v);
  sort_lanes<K, R, 2>(v);
  riffle<K, R, R>(v);
  for (std::size_t r = 0; r < kFull; ++r) store<K>(to + r * kWide<K>, v[r]);
  for (std::size_t r = kFull; r < R; ++r) store_some<K>(to + r * kWide<K>, lanes[r], v[r]);
}

template <class K>
inline constexpr std::size_t kBlock = 16 * kWide<K>;

template <class K>
void sort_small(const K* from, K* to, std::size_t n) {
  if (n > kBlock<K> / 2) return sort_block<K, 16>(from, to, n);
  if (n > kBlock<K> / 4) return sort_block<K, 8>(from, to, n);
  if (n > kBlock<K> / 8) return sort_block<K, 4>(from, to, n);
  if (n > kBlock<K> / 16) return sort_block<K, 2>(from, to, n);
  sort_block<K, 1>(from, to, n);
}

// --- quicksort ---

// Keys up to the pivot go to `low`, the others to `high`, in their order; `from` is one of these two. Whole registers
// are written: what lies behind either place, up to where `from` has been read or one register further, is lost.
template <class K>
__attribute__((noinline, target("arch=x86-64-v4"))) std::size_t partition(const K* from, K* low, K* high, std::size_t n,
                                                                          K pivot) {
  constexpr std::size_t W = kWide<K>;
  const Wide<K> limit = all<K>(pivot);
  std::size_t n_low = 0, i = 0;
  for (; i + W <= n; i += W) {
    const Wide<K> v = load(from + i);
    const Mask<K> lanes = not_above<K>(v, limit);
    store<K>(low + n_low, pack<K>(lanes, v));
    store<K>(high + (i - n_low), pack<K>(above<K>(v, limit), v));
    n_low += static_cast<std::size_t>(std::popcount(unsigned{lanes}));
  }
  if (i < n) {
    const Mask<K> some = first_lanes<K>(n - i);
    const Wide<K> v = load_some<K>(from + i, some, limit);
    const Mask<K> lanes = not_above<K>(v, limit) & some;
    store<K>(low + n_low, pack<K>(lanes, v));
    store<K>(high + (i - n_low), pack<K>(lanes ^ some, v));
    n_low += static_cast<std::size_t>(std::popcount(unsigned{lanes}));
  }
  return n_low;
}

// n keys that lie in `scratch` or already in `keys`, where they shall be sorted. The keys up to the pivot go to `keys`
// and the others to `scratch`: each part then has the rest of the other array for itself, and nothing is copied back.
template <class K>
struct Range {
  K* keys;
  K* scratch;
  std::size_t n;
  bool in_scratch;
  unsigned depth;  // further partitions allowed before digits take over
};

template <class K>
void sort_by(Range<K> range, const K* pivots, std::size_t n_pivots);

// Pivots from the range itself: a sorted sample serves several levels.
template <class K>
void sort_sampled(const Range<K>& range) {
  const K* const from = range.in_scratch ? range.scratch : range.keys;
  const std::size_t n_sample = range.n >= 16 * kBlock<K> ? kBlock<K> : kBlock<K> / 8;
  K sample[kBlock<K>];
  for (std::size_t s = 0; s < n_sample; ++s) sample[s] = from[(2 * s + 1) * range.n / (2 * n_sample)];
  sort_small<K>(sample, sample, n_sample);
  sort_by<K>(range, sample, n_sample);
}

template <class K>
void sort_range(const Range<K>& range, const K* pivots, std::size_t n_pivots) {
  const K* const from = range.in_scratch ? range.scratch : range.keys;
  if (range.n <= kBlock<K>) {
    if (range.n > 0) sort_small<K>(from, range.keys, range.n);
  } else if (range.depth == 0) {
    if (range.in_scratch) std::copy(from, from + range.n, range.keys);
    sort_digits(range.keys, range.scratch, range.n);
  } else if (n_pivots == 0) {
    sort_sampled<K>(range);
  } else {
    sort_by<K>(range, pivots, n_pivots);
  }
}

template <class K>
void sort_by(Range<K> range, const K* pivots, std::size_t n_pivots) {
  const std::size_t middle = n_pivots / 2;
  const K pivot = pivots[middle];
  K* const from = range.in_scratch ? range.scratch : range.keys;
  std::size_t n_low = partition<K>(from, range.keys, range.scratch, range.n, pivot);
  const unsigned depth = range.depth - 1;
  if (n_low == range.n) {  // the pivot is the highest key, perhaps many times: those are done
    n_low = pivot == std::numeric_limits<K>::min()
                ? 0
                : partition<K>(range.keys, range.keys, range.scratch, range.n, pivot - 1);
    sort_range<K>({range.keys, range.scratch, n_low, false, depth}, pivots, middle);
    std::fill(range.keys + n_low, range.keys + range.n, pivot);
    return;
  }
  const std::size_t n_high = range.n - n_low;
  sort_range<K>({range.keys, range.scratch + n_high, n_low, false, depth}, pivots, middle);
  sort_range<K>({range.keys + n_low, range.scratch, n_high, true, depth}, pivots + middle + 1, n_pivots - middle - 1);
}

unsigned usual_depth(std::size_t n) { return static_cast<unsigned>(3 * std::bit_width(n) + 8); }

}  // namespace

void sort_wide(std::int32_t* keys, std::int32_t* scratch, std::size_t n) noexcept {
  sort_wide(keys, scratch, n, usual_depth(n));
}
void sort_wide(std::int64_t* keys, std::int64_t* scratch, std::size_t n) noexcept {
  sort_wide(keys, scratch, n, usual_depth(n));
}
void sort_wide(std::int32_t* keys, std::int32_t* scratch, std::size_t n, unsigned depth) noexcept {
  sort_range<std::int32_t>({keys, scratch, n, false, depth}, nullptr, 0);
}
void sort_wide(std::int64_t* keys, std::int64_t* scratch, std::size_t n, unsigned depth) noexcept {
  sort_range<std::int64_t>({keys, scratch, n, false, depth}, nullptr, 0);
}

}  // namespace steppe::kernels

#else

namespace steppe::kernels {

void sort_wide(std::int32_t* keys, std::int32_t* scratch, std::size_t n) noexcept { sort_digits(keys, scratch, n); }
void sort_wide(std::int64_t* keys, std::int64_t* scratch, std::size_t n) noexcept { sort_digits(keys, scratch, n); }
void sort_wide(std::int32_t* keys, std::int32_t* scratch, std::size_t n, unsigned) noexcept {
  sort_digits(keys, scratch, n);
}
void sort_wide(std::int64_t* keys, std::int64_t* scratch, std::size_t n, unsigned) noexcept {
  sort_digits(keys, scratch, n);
}

}  // namespace steppe::kernels

#endif
