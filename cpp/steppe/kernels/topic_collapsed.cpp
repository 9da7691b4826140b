#include <algorithm>
#include <cstring>
#include <type_traits>

#include "steppe/kernels/topic_visit.hpp"
#include "steppe/kernels/vector_width.hpp"

// What an entry leaves in lambda and the totals is what the next one reads, and between the two lie a sum over all
// topics, a division and two conversions: about 100 cycles, several times the work itself. So kTogether entries are
// worked on at once. They are of different documents, so all that they miss is what they did to lambda and the totals.
namespace steppe::kernels {
namespace {

constexpr std::size_t kTogether = kVisitScratch;
constexpr std::size_t kPrefetch = 8;  // entries ahead: about the latency of the third-level cache

// One register of topics, from and to their storage.
template <class T, std::size_t Bytes>
struct Lane {
  using V = Vec<T, Bytes>;
  static constexpr std::size_t kLanes = VectorOf<T, Bytes>::lanes;

  [[gnu::always_inline]] static void read(V& z, const typename Share<T>::Stored* from) {
    if constexpr (std::is_same_v<T, double>) {
      load(z, from);
    } else {
      Vec<std::uint16_t, Bytes / 2> stored;
      load(stored, from);
      z = __builtin_convertvector(__builtin_convertvector(stored, Vec<std::int32_t, Bytes>), V) * (1 / Share<T>::kOne);
    }
  }
  // z becomes what is stored.
  [[gnu::always_inline]] static void write(typename Share<T>::Stored* to, V& z) {
    if constexpr (std::is_same_v<T, double>) {
      store(to, z);
    } else {
      const auto whole = __builtin_convertvector(z * Share<T>::kOne + T(0.5), Vec<std::int32_t, Bytes>);
      store(to, __builtin_convertvector(whole, Vec<std::uint16_t, Bytes / 2>));
      z = __builtin_convertvector(whole, V) * (1 / Share<T>::kOne);
    }
  }
  [[gnu::always_inline]] static void at_least(V& v, const V& bound) { v = v < bound ? bound : v; }
};

template <class T, std::size_t Bytes>
struct CollapsedVisit {
  using L = Lane<T, Bytes>;
  using V = typename L::V;

  const TopicDocuments<T>& documents;
  const WordEntries<T>& entries;
  const WordTopics<T>& word;
  const TopicNoise<T>& noise;
  T* const scratch;
  const std::size_t stride = documents.stride;

  [[gnu::always_inline]] T* gamma_of(std::size_t n) const {
    return documents.gamma + static_cast<std::size_t>(entries.documents[n]) * stride;
  }

  [[gnu::always_inline]] void prefetch(std::size_t n) const {
    if (n >= entries.documents.size()) return;
    const T* row = gamma_of(n);
    for (std::size_t k = 0; k < stride; k += 64 / sizeof(T)) __builtin_prefetch(row + k, 1);
  }

  [[gnu::always_inline]] const T* noise_of(std::size_t n) const {
    return noise.rows + noise.row_of(entries.documents[n]) * stride;
  }

  // Entries n .. n + N - 1.
  template <std::size_t N, bool Noisy>
  [[gnu::always_inline]] void visit(std::size_t n) const {
    T* gamma[N];
    for (std::size_t g = 0; g < N; ++g) {
      gamma[g] = gamma_of(n + g);
      prefetch(n + g + kPrefetch);
    }
    auto* const z = entries.z + n * stride;
    const V eta = V{} + word.eta, eta_total = V{} + word.eta_total;
    V sums[N] = {}, alpha, lambda, totals, change;
    for (std::size_t k = 0; k < stride; k += L::kLanes) {
      load(alpha, documents.alpha + k);
      load(change, word.change + k);
      load(lambda, word.lambda + k);
      load(totals, word.totals + k);
      lambda += change;
      totals += change;
      for (std::size_t g = 0; g < N; ++g) {
        V own, of_document;
        L::read(own, z + g * stride + k);
        load(of_document, gamma[g] + k);
        of_document -= own;
        V of_word = lambda - own, of_all = totals - own;
        L::at_least(of_document, alpha);
        L::at_least(of_word, eta);
        L::at_least(of_all, eta_total);
        V p = of_document * of_word / of_all;
        if constexpr (Noisy) {
          V factor;
          load(factor, noise_of(n + g) + k);
          p *= factor;
        }
        store(scratch + g * stride + k, p);
        sums[g] += p;
      }
    }
    V scale[N], count[N];
    for (std::size_t g = 0; g < N; ++g) {
      scale[g] = V{} + T(1) / sum_lanes<T>(sums[g]);
      count[g] = V{} + entries.counts[n + g];
    }
    for (std::size_t k = 0; k < stride; k += L::kLanes) {
      load(change, word.change + k);
      for (std::size_t g = 0; g < N; ++g) {
        V before, now, of_document;
        L::read(before, z + g * stride + k);
        load(now, scratch + g * stride + k);
        now *= scale[g];
        L::write(z + g * stride + k, now);
        const V delta = count[g] * (now - before);
        load(of_document, gamma[g] + k);
        store(gamma[g] + k, of_document + delta);
        change += delta;
      }
      store(word.change + k, change);
    }
  }

  template <bool Noisy>
  [[gnu::always_inline]] void walk() const {
    const std::size_t n = entries.documents.size();
    std::size_t done = 0;
    for (; done + kTogether <= n; done += kTogether) visit<kTogether, Noisy>(done);
    for (; done < n; ++done) visit<1, Noisy>(done);
  }

  [[gnu::always_inline]] void operator()() const { noise.rows != nullptr ? walk<true>() : walk<false>(); }
};

template <class T>
using Kernel = void (*)(const TopicDocuments<T>&, const WordEntries<T>&, const WordTopics<T>&, const TopicNoise<T>&,
                        T*);

template <class T>
void visit_any(const TopicDocuments<T>& documents, const WordEntries<T>& entries, const WordTopics<T>& word,
               const TopicNoise<T>& noise, T* scratch) {
  CollapsedVisit<T, 4 * sizeof(T)>{documents, entries, word, noise, scratch}();
}

#if defined(__x86_64__) && defined(__GNUC__)
template <class T>
__attribute__((target("arch=x86-64-v4"))) void visit_v4(const TopicDocuments<T>& documents,
                                                        const WordEntries<T>& entries, const WordTopics<T>& word,
                                                        const TopicNoise<T>& noise, T* scratch) {
  CollapsedVisit<T, 64>{documents, entries, word, noise, scratch}();
}
template <class T>
__attribute__((target("arch=x86-64-v3"))) void visit_v3(const TopicDocuments<T>& documents,
                                                        const WordEntries<T>& entries, const WordTopics<T>& word,
                                                        const TopicNoise<T>& noise, T* scratch) {
  CollapsedVisit<T, 32>{documents, entries, word, noise, scratch}();
}
#endif

template <class T>
Kernel<T> find_kernel() {
#if defined(__x86_64__) && defined(__GNUC__)
  if (vector_bytes() == 64) return visit_v4<T>;
  if (vector_bytes() == 32) return visit_v3<T>;
#endif
  return visit_any<T>;
}

}  // namespace

void collapsed_visit(const TopicDocuments<float>& documents, const WordEntries<float>& entries,
                     const WordTopics<float>& word, const TopicNoise<float>& noise, float* scratch) {
  static const Kernel<float> kernel = find_kernel<float>();
  kernel(documents, entries, word, noise, scratch);
}
void collapsed_visit(const TopicDocuments<double>& documents, const WordEntries<double>& entries,
                     const WordTopics<double>& word, const TopicNoise<double>& noise, double* scratch) {
  static const Kernel<double> kernel = find_kernel<double>();
  kernel(documents, entries, word, noise, scratch);
}

}  // namespace steppe::kernels
