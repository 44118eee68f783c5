#include "weights.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

namespace {

using sluice::Destination;
using sluice::Group;
using sluice::part;
using sluice::Request;
using sluice::take;

// Asks for the parameters of one rank.
class Rank {
 public:
  Rank(Request& request, const Config& config, std::size_t rank, std::size_t world, sluice::DeviceId device)
      : request_(request), config_(config), rank_(rank), world_(world), device_(device) {
    const auto divisible = [](std::size_t count, std::size_t parts) { return count % parts == 0; };
    if (!divisible(config.heads, world) || !divisible(config.inner, world) ||
        !(divisible(config.kv_heads, world) || divisible(world, config.kv_heads))) {
      throw std::runtime_error("heads and feed-forward width do not divide by " + std::to_string(world) + " ranks");
    }
  }

  void add(RankWeights& weights) {
    add_embeddings(weights.embeddings);
    weights.layers.resize(config_.layers);  // before pointers to them are kept
    for (std::size_t layer = 0; layer < config_.layers; ++layer) add_layer(weights.layers[layer], layer);
    add_norm(weights.final_norm, "final_norm", "model.norm.weight", config_.hidden,
             Weights::layer_group(config_.layers));
  }

  // Of the block that place() fills.
  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const Parameter& parameter : parameters_) sum += aligned(*parameter.matrix);
    return sum;
  }

  // Puts all that was added one behind the other.
  void place(std::byte* block) {
    for (auto& [matrix, destination] : parameters_) {
      destination->memory(block, size(*matrix));
      matrix->data = reinterpret_cast<const std::uint16_t*>(block);
      block += aligned(*matrix);
    }
  }

 private:
  struct Parameter {
    Matrix* matrix;
    Destination* destination;
  };

  static std::size_t size(const Matrix& matrix) { return matrix.rows * matrix.columns * sizeof *matrix.data; }
  static std::size_t aligned(const Matrix& matrix) { return (size(matrix) + 255) / 256 * 256; }

  void add_embeddings(Matrix& embeddings) {
    const std::size_t rows = (config_.vocabulary + world_ - 1) / world_;
    const std::size_t first = std::min(rank_ * rows, config_.vocabulary);
    const std::size_t count = std::min(rows, config_.vocabulary - first);
    Destination& here = parameter(embeddings, "embeddings", rows, config_.hidden, Weights::embeddings_group()).zero();
    request_.add("model.embed_tokens.weight").to(here, take(0, first, count), take(0, 0, count));
  }

  void add_layer(LayerWeights& weights, std::size_t layer) {
    const std::string from = "model.layers." + std::to_string(layer) + ".";
    const std::string to = "layers." + std::to_string(layer) + ".";
    const Group group = Weights::layer_group(layer);
    const std::size_t q = config_.heads / world_ * config_.head_width;
    const std::size_t copies = std::max<std::size_t>(1, world_ / config_.kv_heads);  // ranks that share a kv head
    const std::size_t kv = config_.kv_heads * copies / world_ * config_.head_width;
    const std::size_t inner = config_.inner / world_;
    const std::size_t hidden = config_.hidden;

    Destination& qkv = parameter(weights.qkv, to + "qkv", q + 2 * kv, hidden, group);
    request_.add(from + "self_attn.q_proj.weight").to(qkv, part(0, rank_, world_), take(0, 0, q));
    request_.add(from + "self_attn.k_proj.weight").to(qkv, part(0, rank_ / copies, world_ / copies), take(0, q, kv));
    request_.add(from + "self_attn.v_proj.weight")
        .to(qkv, part(0, rank_ / copies, world_ / copies), take(0, q + kv, kv));
    Destination& output = parameter(weights.output, to + "output", hidden, q, group);
    request_.add(from + "self_attn.o_proj.weight").to(output, part(1, rank_, world_));

    Destination& gate_up = parameter(weights.gate_up, to + "gate_up", 2 * inner, hidden, group);
    request_.add(from + "mlp.gate_proj.weight").to(gate_up, part(0, rank_, world_), take(0, 0, inner));
    request_.add(from + "mlp.up_proj.weight").to(gate_up, part(0, rank_, world_), take(0, inner, inner));
    Destination& down = parameter(weights.down, to + "down", hidden, inner, group);
    request_.add(from + "mlp.down_proj.weight").to(down, part(1, rank_, world_));

    const std::tuple<Matrix*, const char*, std::size_t> norms[] = {
        {&weights.query_norm, "self_attn.q_norm", config_.head_width},
        {&weights.key_norm, "self_attn.k_norm", config_.head_width},
        {&weights.before_attention, "input_layernorm", hidden},
        {&weights.after_attention, "post_attention_layernorm", hidden},
        {&weights.before_feed_forward, "pre_feedforward_layernorm", hidden},
        {&weights.after_feed_forward, "post_feedforward_layernorm", hidden}};
    for (const auto& [norm, name, width] : norms) add_norm(*norm, to + name, from + name + ".weight", width, group);
  }

  // Each rank has norms whole.
  void add_norm(Matrix& norm, const std::string& name, const std::string& tensor, std::size_t width, Group group) {
    request_.add(tensor).to(parameter(norm, name, 1, width, group));
  }

  Destination& parameter(Matrix& matrix, const std::string& name, std::size_t rows, std::size_t columns, Group group) {
    matrix = {.data = nullptr, .rows = rows, .columns = columns};
    Destination& destination =
        request_.destination("rank" + std::to_string(rank_) + "." + name, {rows, columns}, sluice::bf16, device_);
    destination.group(group);
    parameters_.push_back({&matrix, &destination});
    return destination;
  }

  Request& request_;
  const Config& config_;
  std::size_t rank_;
  std::size_t world_;
  sluice::DeviceId device_;
  std::vector<Parameter> parameters_;
};

}  // namespace

Weights::Weights(const Config& config, std::vector<sluice::DeviceId> devices)
    : devices_(std::move(devices)), ranks_(devices_.size()) {
  if (devices_.empty()) throw std::runtime_error("a model is computed by one rank at least");
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    Rank rank(request_, config, i, ranks_.size(), devices_[i]);
    rank.add(ranks_[i]);
    if (devices_[i] == sluice::host()) {
      blocks_.push_back(allocate(rank.bytes()));
      rank.place(static_cast<std::byte*>(blocks_.back().get()));
    }
  }
  request_.add("lm_head.weight").skip().optional();  // a copy of the embeddings, where it is saved at all
  request_.strict = true;                            // a tensor that nobody here knows is another model's
}

void Weights::wait(const sluice::Load& load, Group group) const {
  for (const sluice::DeviceId device : devices_) load.wait(group, device);
}

Weights::Block Weights::allocate(std::size_t bytes) {
  // In huge pages, where the system has some: the first touches of small ones take longer than reading into them.
  constexpr std::size_t huge_page = std::size_t{2} << 20;
  const std::size_t whole_pages = (bytes + huge_page - 1) / huge_page * huge_page;
  Block block(std::aligned_alloc(huge_page, whole_pages));
  if (block == nullptr) throw std::bad_alloc();
  madvise(block.get(), whole_pages, MADV_HUGEPAGE);  // a refusal costs time only
  return block;
}
