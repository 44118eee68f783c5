// Decoder: a Gemma 3 that is computed while its weights arrive. Each layer begins as soon as sluice has delivered that
// layer's group. Ranks are computed one after the other, and their partial sums are added where GPUs would run an
// all-reduce.
#pragma once

#include <cstddef>
#include <sluice/sluice.hpp>
#include <span>
#include <vector>

#include "attention.hpp"
#include "config.hpp"
#include "kernels.hpp"
#include "timeline.hpp"
#include "weights.hpp"

class Decoder {
 public:
  /// All of them must live as long as this decoder. Every rank is on the host.
  Decoder(const Config& config, const Weights& weights, const sluice::Load& load, Timeline& timeline);

  /// The logits of what follows `tokens`, which follow all tokens of earlier calls. Throws the load's Error.
  std::vector<float> forward(std::span<const int> tokens);

 private:
  Rows embed(std::span<const int> tokens) const;
  void apply_layer(std::size_t layer, Rows& x);
  std::vector<float> logits(const Rows& x) const;

  const Config& config_;
  const Weights& weights_;
  const sluice::Load& load_;
  Timeline& timeline_;
  std::vector<std::vector<Attention>> attention_;  // [rank][layer]
};
