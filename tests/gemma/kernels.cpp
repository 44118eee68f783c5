#include "kernels.hpp"

#include <bit>
#include <cmath>

// Compiled for any processor and for those with AVX2 and FMA, of which the program takes what it runs on. Sanitizers
// cannot have that: the choice is made before they are set up.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define FOR_NEWER_PROCESSORS_TOO __attribute__((target_clones("default", "arch=haswell")))
#else
#define FOR_NEWER_PROCESSORS_TOO
#endif

namespace {

FOR_NEWER_PROCESSORS_TOO float dot(const float* x, const std::uint16_t* weights, std::size_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t i = 0; i < count; ++i) sum += x[i] * widened(weights[i]);
  return sum;
}

float gelu(float x) {
  constexpr float root = 0.7978845608f;  // sqrt(2 / pi)
  return 0.5f * x * (1 + std::tanh(root * (x + 0.044715f * x * x * x)));
}

}  // namespace

Rows multiply(const Rows& x, const Matrix& matrix) {
  Rows product(x.count(), matrix.rows);
  for (std::size_t row = 0; row < matrix.rows; ++row) {  // outermost: each weight comes from memory once for all tokens
    const std::uint16_t* const weights = matrix.data + row * matrix.columns;
    for (std::size_t t = 0; t < x.count(); ++t) product.row(t)[row] = dot(x.row(t), weights, matrix.columns);
  }
  return product;
}

void add(Rows& to, const Rows& added) {
  for (std::size_t i = 0; i < to.values.size(); ++i) to.values[i] += added.values[i];
}

void normalise(std::span<float> x, const Matrix& norm, float epsilon) {
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (std::size_t i = 0; i < x.size(); ++i) squares += x[i] * x[i];
  const float scale = 1 / std::sqrt(squares / static_cast<float>(x.size()) + epsilon);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] *= scale * (1 + widened(norm.data[i]));
}

Rows normalised(Rows x, const Matrix& norm, float epsilon) {
  for (std::size_t t = 0; t < x.count(); ++t) normalise({x.row(t), x.width}, norm, epsilon);
  return x;
}

Rows gated(const Rows& gate_up) {
  const std::size_t inner = gate_up.width / 2;
  Rows result(gate_up.count(), inner);
  for (std::size_t t = 0; t < result.count(); ++t) {
    const float* const gate = gate_up.row(t);
    for (std::size_t i = 0; i < inner; ++i) result.row(t)[i] = gelu(gate[i]) * gate[inner + i];
  }
  return result;
}
