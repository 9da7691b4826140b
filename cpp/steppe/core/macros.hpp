#pragma once

// Host and device code share one element function; without nvcc the mark means nothing.
#if defined(__CUDACC__)
#define STEPPE_HD __host__ __device__
#else
#define STEPPE_HD
#endif

// One function, compiled for three x86-64 levels and chosen by the loader (ifunc): wheels need no -march.
// Sanitizers run before ifunc resolvers are safe, and only GCC on x86-64 Linux has the levels we name.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__) && !defined(STEPPE_NO_MULTIVERSION)
#define STEPPE_MULTIVERSION __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define STEPPE_MULTIVERSION
#endif
