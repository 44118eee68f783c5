#include "decoder.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace {

// To BF16, to nearest and ties to even, as the model was trained with.
float rounded(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return widened(static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16));
}

}  // namespace

Decoder::Decoder(const Config& config, const Weights& weights, const sluice::Load& load, Timeline& timeline)
    : config_(config), weights_(weights), load_(load), timeline_(timeline) {
  for (const RankWeights& rank : weights.ranks()) {
    auto& layers = attention_.emplace_back();
    for (std::size_t i = 0; i < rank.layers.size(); ++i) layers.emplace_back(config, rank.layers[i], i);
  }
}

std::vector<float> Decoder::forward(std::span<const int> tokens) {
  weights_.wait(load_, Weights::embeddings_group());
  timeline_.mark("embeddings");
  Rows x = embed(tokens);
  for (std::size_t layer = 0; layer < config_.layers; ++layer) {
    weights_.wait(load_, Weights::layer_group(layer));
    if (layer == 0) timeline_.mark("first layer's weights");
    apply_layer(layer, x);
  }
  weights_.wait(load_, weights_.final_group());
  timeline_.mark("layers");
  std::vector<float> result = logits(x);
  timeline_.mark("head");
  return result;
}

Rows Decoder::embed(std::span<const int> tokens) const {
  const float scale = rounded(std::sqrt(static_cast<float>(config_.hidden)));
  Rows x(tokens.size(), config_.hidden);
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    const auto token = static_cast<std::size_t>(tokens[t]);
    if (token >= config_.vocabulary) {
      throw std::runtime_error("token " + std::to_string(tokens[t]) + " is outside the vocabulary");
    }
    const std::size_t rows_per_rank = weights_.ranks().front().embeddings.rows;
    const Matrix& embeddings = weights_.ranks()[token / rows_per_rank].embeddings;
    const std::uint16_t* const row = embeddings.data + token % rows_per_rank * config_.hidden;
    for (std::size_t i = 0; i < config_.hidden; ++i) x.row(t)[i] = widened(row[i]) * scale;
  }
  return x;
}

void Decoder::apply_layer(std::size_t layer, Rows& x) {
  const LayerWeights& norms = weights_.ranks().front().layers[layer];  // the same on each rank
  const float epsilon = config_.norm_epsilon;

  const Rows before = normalised(x, norms.before_attention, epsilon);
  Rows sum(x.count(), config_.hidden);
  for (std::size_t rank = 0; rank < attention_.size(); ++rank) {
    const LayerWeights& weights = weights_.ranks()[rank].layers[layer];
    add(sum, multiply(attention_[rank][layer].attend(multiply(before, weights.qkv)), weights.output));
  }
  add(x, normalised(sum, norms.after_attention, epsilon));

  const Rows between = normalised(x, norms.before_feed_forward, epsilon);
  Rows fed(x.count(), config_.hidden);
  for (const RankWeights& rank : weights_.ranks()) {
    const LayerWeights& weights = rank.layers[layer];
    add(fed, multiply(gated(multiply(between, weights.gate_up)), weights.down));
  }
  add(x, normalised(fed, norms.after_feed_forward, epsilon));
}

// Of the last token only. The embeddings are the head, too; ranks know their own words.
std::vector<float> Decoder::logits(const Rows& x) const {
  Rows last(1, config_.hidden);
  std::copy_n(x.row(x.count() - 1), config_.hidden, last.row(0));
  normalise({last.row(0), config_.hidden}, weights_.ranks().front().final_norm, config_.norm_epsilon);
  std::vector<float> result;
  for (const RankWeights& rank : weights_.ranks()) {
    const Rows part = multiply(last, rank.embeddings);
    result.insert(result.end(), part.values.begin(), part.values.end());
  }
  result.resize(config_.vocabulary);  // without the rows of zeros that fill up the last rank
  return result;
}
