#include "encoder.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>

Encoder::Encoder(sluice::Load load) : load_(std::move(load)) {
  const auto& words = load_.wait("embeddings.word_embeddings.weight");
  vocabulary_size_ = words.shape.empty() ? 0 : words.shape[0];
  word_embeddings_ = floats("embeddings.word_embeddings.weight", {vocabulary_size_, width});
  position_embeddings_ = floats("embeddings.position_embeddings.weight", {positions, width});
  type_embeddings_ = floats("embeddings.token_type_embeddings.weight", {2, width});
  embedding_norm_ = norm("embeddings.LayerNorm");
  for (std::size_t i = 0; i < layers; ++i) {
    const std::string prefix = "encoder.layer." + std::to_string(i) + ".";
    layers_.push_back({.query = dense(prefix + "attention.self.query", width, width),
                       .key = dense(prefix + "attention.self.key", width, width),
                       .value = dense(prefix + "attention.self.value", width, width),
                       .attention_output = dense(prefix + "attention.output.dense", width, width),
                       .intermediate = dense(prefix + "intermediate.dense", width, inner_width),
                       .output = dense(prefix + "output.dense", inner_width, width),
                       .attention_norm = norm(prefix + "attention.output.LayerNorm"),
                       .output_norm = norm(prefix + "output.LayerNorm")});
  }
}

Encoder::Embedding Encoder::embed(const std::vector<int>& tokens) const {
  if (tokens.empty() || tokens.size() > positions) throw std::runtime_error("a sentence has 1 to 512 tokens");
  std::vector<float> rows(tokens.size() * width);
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    const auto word = static_cast<std::size_t>(tokens[t]);
    if (word >= vocabulary_size_) throw std::runtime_error("a token is outside the vocabulary");
    for (std::size_t i = 0; i < width; ++i) {
      rows[t * width + i] = word_embeddings_[word * width + i] + position_embeddings_[t * width + i];
    }
  }
  const std::vector<float> first_type(type_embeddings_, type_embeddings_ + width);
  std::vector<float> types;
  for (std::size_t t = 0; t < tokens.size(); ++t) types.insert(types.end(), first_type.begin(), first_type.end());
  add_and_normalise(rows, types, embedding_norm_);

  for (const Layer& layer : layers_) {
    add_and_normalise(rows, apply(layer.attention_output, attend(layer, rows)), layer.attention_norm);
    std::vector<float> inner = apply(layer.intermediate, rows);
    for (float& x : inner) x = 0.5f * x * (1.0f + std::erf(x / std::numbers::sqrt2_v<float>));  // GELU
    add_and_normalise(rows, apply(layer.output, inner), layer.output_norm);
  }

  Embedding mean{};  // over all tokens; its length is divided out, so a sum does
  for (std::size_t i = 0; i < rows.size(); ++i) mean[i % width] += rows[i];
  double square = 0;
  for (const float x : mean) square += double{x} * x;
  for (float& x : mean) x = static_cast<float>(x / std::sqrt(square));
  return mean;
}

std::vector<float> Encoder::attend(const Layer& layer, const std::vector<float>& rows) {
  constexpr std::size_t head_width = width / heads;
  const std::size_t count = rows.size() / width;
  const std::vector<float> query = apply(layer.query, rows);
  const std::vector<float> key = apply(layer.key, rows);
  const std::vector<float> value = apply(layer.value, rows);

  std::vector<float> attended(rows.size());
  std::vector<float> share(count);
  for (std::size_t head = 0; head < heads; ++head) {
    const std::size_t begin = head * head_width;
    for (std::size_t t = 0; t < count; ++t) {
      for (std::size_t other = 0; other < count; ++other) {
        float dot = 0;
        for (std::size_t i = begin; i < begin + head_width; ++i) dot += query[t * width + i] * key[other * width + i];
        share[other] = dot / std::sqrt(static_cast<float>(head_width));
      }
      const float largest = *std::max_element(share.begin(), share.end());
      float sum = 0;
      for (float& x : share) sum += x = std::exp(x - largest);
      for (std::size_t other = 0; other < count; ++other) {
        for (std::size_t i = begin; i < begin + head_width; ++i) {
          attended[t * width + i] += share[other] / sum * value[other * width + i];
        }
      }
    }
  }
  return attended;
}

std::vector<float> Encoder::apply(const Dense& dense, const std::vector<float>& rows) {
  const std::size_t count = rows.size() / dense.in;
  std::vector<float> result(count * dense.out);
  for (std::size_t t = 0; t < count; ++t) {
    for (std::size_t o = 0; o < dense.out; ++o) {
      float sum = dense.bias[o];
      for (std::size_t i = 0; i < dense.in; ++i) sum += rows[t * dense.in + i] * dense.weight[o * dense.in + i];
      result[t * dense.out + o] = sum;
    }
  }
  return result;
}

void Encoder::add_and_normalise(std::vector<float>& rows, const std::vector<float>& added, const Norm& norm) {
  constexpr double epsilon = 1e-12;
  for (std::size_t row = 0; row < rows.size(); row += width) {
    double sum = 0;
    for (std::size_t i = 0; i < width; ++i) sum += rows[row + i] += added[row + i];
    const double mean = sum / width;
    double variance = 0;
    for (std::size_t i = 0; i < width; ++i) variance += (rows[row + i] - mean) * (rows[row + i] - mean) / width;
    const double scale = 1 / std::sqrt(variance + epsilon);
    for (std::size_t i = 0; i < width; ++i) {
      rows[row + i] = static_cast<float>((rows[row + i] - mean) * scale) * norm.weight[i] + norm.bias[i];
    }
  }
}

const float* Encoder::floats(const std::string& name, const std::vector<std::uint64_t>& shape) const {
  const sluice::Tensor& tensor = load_.wait(name);
  if (tensor.dtype != sluice::f32 ||
      !std::equal(shape.begin(), shape.end(), tensor.shape.begin(), tensor.shape.end())) {
    throw std::runtime_error(name + " has another dtype or shape than this encoder's");
  }
  return static_cast<const float*>(tensor.data);
}

Encoder::Dense Encoder::dense(const std::string& name, std::size_t in, std::size_t out) const {
  return {floats(name + ".weight", {out, in}), floats(name + ".bias", {out}), in, out};
}

Encoder::Norm Encoder::norm(const std::string& name) const {
  return {floats(name + ".weight", {width}), floats(name + ".bias", {width})};
}
