// Kernels: the arithmetic of a layer on rows of F32, one row per token, with parameters in BF16. On the calling thread.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "weights.hpp"

struct Rows {
  Rows(std::size_t row_count, std::size_t row_width) : width(row_width), values(row_count * row_width) {}

  std::size_t count() const { return width == 0 ? 0 : values.size() / width; }
  float* row(std::size_t index) { return values.data() + index * width; }
  const float* row(std::size_t index) const { return values.data() + index * width; }

  std::size_t width;
  std::vector<float> values;
};

inline float widened(std::uint16_t bf16) {
  return std::bit_cast<float>(std::uint32_t{bf16} << 16);
}

/// x * matrix^T.
Rows multiply(const Rows& x, const Matrix& matrix);

void add(Rows& to, const Rows& added);

/// Gemma's RMS norm, in place: x / sqrt(mean of x^2 + epsilon) * (1 + weight).
void normalise(std::span<float> x, const Matrix& norm, float epsilon);
Rows normalised(Rows x, const Matrix& norm, float epsilon);

/// Gate and gated beside each other become gelu(gate) * gated, half as wide.
Rows gated(const Rows& gate_up);
