#include "attention.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace {

// Rotary embedding: turns each pair of an element of the first half and its like in the second by an angle that grows
// with the position, and the less the further back the pair is.
void rotate(float* head, std::size_t width, const std::vector<std::pair<float, float>>& turns) {
  const std::size_t half = width / 2;
  for (std::size_t i = 0; i < half; ++i) {
    const auto [cosine, sine] = turns[i];
    const float first = head[i];
    const float second = head[half + i];
    head[i] = first * cosine - second * sine;
    head[half + i] = second * cosine + first * sine;
  }
}

void softmax(std::vector<float>& scores) {
  const float largest = *std::max_element(scores.begin(), scores.end());
  float sum = 0;
  for (float& score : scores) sum += score = std::exp(score - largest);
  for (float& score : scores) score /= sum;
}

}  // namespace

Attention::Attention(const Config& config, const LayerWeights& weights, std::size_t layer)
    : config_(config),
      weights_(weights),
      sliding_(config.sliding[layer]),
      heads_(weights.output.columns / config.head_width),
      kv_heads_((weights.qkv.rows - weights.output.columns) / 2 / config.head_width) {}

Rows Attention::attend(Rows qkv) {
  const std::size_t q = heads_ * config_.head_width;
  const std::size_t kv = kv_heads_ * config_.head_width;
  Rows seen(qkv.count(), q);
  for (std::size_t t = 0; t < qkv.count(); ++t) {  // in order: a token sees itself and those before it
    float* const row = qkv.row(t);
    const std::size_t position = positions_++;
    normalise_and_rotate(row, position);
    keys_.insert(keys_.end(), row + q, row + q + kv);
    values_.insert(values_.end(), row + q + kv, row + q + 2 * kv);
    for (std::size_t head = 0; head < heads_; ++head) {
      see(head, position, row + head * config_.head_width, seen.row(t) + head * config_.head_width);
    }
  }
  return seen;
}

// Queries and keys, which lie behind them; values stay as they are.
void Attention::normalise_and_rotate(float* row, std::size_t position) const {
  const std::size_t width = config_.head_width;
  const float base = sliding_ ? config_.sliding_rotary_base : config_.full_rotary_base;
  std::vector<std::pair<float, float>> turns(width / 2);
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const double angle =
        static_cast<double>(position) / std::pow(base, 2.0 * static_cast<double>(i) / static_cast<double>(width));
    turns[i] = {static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))};
  }
  for (std::size_t head = 0; head < heads_ + kv_heads_; ++head) {
    float* const values = row + head * width;
    normalise({values, width}, head < heads_ ? weights_.query_norm : weights_.key_norm, config_.norm_epsilon);
    rotate(values, width, turns);
  }
}

void Attention::see(std::size_t head, std::size_t position, const float* query, float* seen) const {
  const std::size_t width = config_.head_width;
  const std::size_t stride = kv_heads_ * width;
  const std::size_t offset = head / (heads_ / kv_heads_) * width;
  const std::size_t count = sliding_ ? std::min(config_.window, position + 1) : position + 1;
  const std::size_t first = position + 1 - count;

  std::vector<float> shares(count);
  for (std::size_t i = 0; i < count; ++i) {
    const float* const key = keys_.data() + (first + i) * stride + offset;
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (std::size_t j = 0; j < width; ++j) dot += query[j] * key[j];
    shares[i] = dot * config_.query_scale;
  }
  softmax(shares);
  for (std::size_t i = 0; i < count; ++i) {
    const float* const value = values_.data() + (first + i) * stride + offset;
    for (std::size_t j = 0; j < width; ++j) seen[j] += shares[i] * value[j];
  }
}
