#pragma once

// The two instructions of tensor cores, in the PTX of sm_80.
namespace steppe::cuda {

// To 11 significant bits, halves away from zero.
__device__ inline float rounded_to_tf32(float x) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return __uint_as_float(bits);
}

// D += A B of the warp's fragments of 16 x 8 and 8 x 8: lane l holds A (l / 4, l % 4), 8 rows below it, and both 4
// columns to the right; B (l % 4, l / 4) and 4 rows below; D (l / 4, 2 (l % 4)), the next column, and both 8 rows
// below.
__device__ inline void multiply_fragment(float& d0, float& d1, float& d2, float& d3, float a0, float a1, float a2,
                                         float a3, float b0, float b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d0), "+f"(d1), "+f"(d2), "+f"(d3)
      : "r"(__float_as_uint(a0)), "r"(__float_as_uint(a1)), "r"(__float_as_uint(a2)), "r"(__float_as_uint(a3)),
        "r"(__float_as_uint(b0)), "r"(__float_as_uint(b1)));
}

}  // namespace steppe::cuda
