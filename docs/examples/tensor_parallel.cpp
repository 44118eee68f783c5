// Loads a Llama-like model in tensor parallel over all GPUs of this process: tensor_parallel PATH
//
// The file is read once, and each link carries what its GPU keeps. Query, key and value become one matrix, gate and up
// another, the vocabulary is split and padded with zeros, and each GPU's parameters lie in one block of the engine's.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <sluice/sluice.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "gpu.hpp"

namespace {

using Shape = std::vector<std::uint64_t>;

// Says what one GPU gets. Shapes are those of the checkpoint; an engine has them from its configuration.
class Rank {
 public:
  Rank(sluice::Request& request, const sluice::Checkpoint& checkpoint, std::uint64_t rank, std::uint64_t world)
      : request_(request), checkpoint_(checkpoint), rank_(rank), world_(world) {}

  void add(std::uint32_t layers) {
    add_vocabulary("model.embed_tokens.weight", {0});
    for (std::uint32_t layer = 0; layer < layers; ++layer) {
      const std::string p = "model.layers." + std::to_string(layer) + ".";
      const sluice::Group group{layer + 1};
      add_rows(p + "qkv", {p + "self_attn.q_proj.weight", p + "self_attn.k_proj.weight", p + "self_attn.v_proj.weight"},
               group);
      add_columns(p + "self_attn.o_proj.weight", group);
      add_rows(p + "gate_up", {p + "mlp.gate_proj.weight", p + "mlp.up_proj.weight"}, group);
      add_columns(p + "mlp.down_proj.weight", group);
      add_whole(p + "input_layernorm.weight", group);
      add_whole(p + "post_attention_layernorm.weight", group);
    }
    add_whole("model.norm.weight", {layers + 1});
    if (checkpoint_.find("lm_head.weight") != nullptr) add_vocabulary("lm_head.weight", {layers + 1});
  }

 private:
  // Of each source this rank's rows, one source below the other.
  void add_rows(const std::string& name, const std::vector<std::string>& sources, sluice::Group group) {
    std::uint64_t rows = 0;
    for (const std::string& source : sources) rows += shape(source).at(0) / world_;
    auto& fused = destination(name, {rows, shape(sources.front()).at(1)}, group);
    std::uint64_t row = 0;
    for (const std::string& source : sources) {
      const std::uint64_t count = shape(source).at(0) / world_;
      request_.add(source).to(fused, sluice::part(0, rank_, world_), sluice::take(0, row, count));
      row += count;
    }
  }
  // This rank's columns.
  void add_columns(const std::string& source, sluice::Group group) {
    const Shape whole = shape(source);
    auto& columns = destination(source, {whole.at(0), whole.at(1) / world_}, group);
    request_.add(source).to(columns, sluice::part(1, rank_, world_));
  }
  // This rank's rows of a vocabulary that the ranks need not divide: the last ranks' rows end with zeros.
  void add_vocabulary(const std::string& source, sluice::Group group) {
    const Shape whole = shape(source);
    const std::uint64_t rows = (whole.at(0) + world_ - 1) / world_;
    const std::uint64_t first = std::min(rank_ * rows, whole.at(0));
    const std::uint64_t count = std::min(rows, whole.at(0) - first);
    auto& padded = destination(source, {rows, whole.at(1)}, group).zero();
    request_.add(source).to(padded, sluice::take(0, first, count), sluice::take(0, 0, count));
  }
  void add_whole(const std::string& source, sluice::Group group) {
    request_.add(source).to(destination(source, shape(source), group));
  }

  sluice::Destination& destination(const std::string& name, Shape shape, sluice::Group group) {
    const auto gpu = sluice::cuda(static_cast<int>(rank_));
    return request_.destination(name, std::move(shape), sluice::bf16, gpu).group(group);
  }
  Shape shape(const std::string& name) const {
    const sluice::TensorInfo* const tensor = checkpoint_.find(name);
    if (tensor == nullptr) throw std::runtime_error("the checkpoint has no " + name);
    return {tensor->shape.begin(), tensor->shape.end()};
  }

  sluice::Request& request_;
  const sluice::Checkpoint& checkpoint_;
  const std::uint64_t rank_;
  const std::uint64_t world_;
};

sluice::Request request_for(const sluice::Checkpoint& checkpoint, std::uint64_t world) {
  std::uint32_t layers = 0;
  while (checkpoint.find("model.layers." + std::to_string(layers) + ".input_layernorm.weight") != nullptr) ++layers;
  sluice::Request request;
  for (std::uint64_t rank = 0; rank < world; ++rank) Rank(request, checkpoint, rank, world).add(layers);
  request.add("*rotary_emb.inv_freq").skip().optional();  // old checkpoints have it; engines compute it
  request.strict = true;                                  // every other tensor must be somebody's
  return request;
}

void run(const char* path) {
  std::vector<std::unique_ptr<Gpu>> gpus;
  for (int i = 0; i < Driver::get().gpus(); ++i) gpus.push_back(std::make_unique<Gpu>(i));
  sluice::Engine engine;
  const auto checkpoint = sluice::Checkpoint::open(path);
  const sluice::Request request = request_for(checkpoint, gpus.size());

  // All that is wrong at once, rather than the first of it: an engine for another model is wrong in many places.
  const std::vector<sluice::Error> wrong = sluice::check(checkpoint, request);
  for (const sluice::Error& error : wrong) std::fprintf(stderr, "tensor_parallel: %s\n", error.what());
  if (!wrong.empty()) throw std::runtime_error("this checkpoint does not fit");
  const auto plan = sluice::make_plan(checkpoint, request, engine.options());

  // The plan knows what each GPU needs; the engine allocates it, and frees it when no kernel reads it any more.
  sluice::StartOptions options;
  for (const auto& on : plan.costs().devices) {
    Gpu& gpu = *gpus.at(static_cast<std::size_t>(on.device.ordinal));
    options.arenas.push_back({on.device, gpu.allocate(on.arena_bytes), on.arena_bytes});
    std::printf("%s: %llu tensors in %llu bytes, %llu over its link\n", name(on.device).c_str(),
                static_cast<unsigned long long>(on.tensors), static_cast<unsigned long long>(on.arena_bytes),
                static_cast<unsigned long long>(on.link_bytes));
  }

  const sluice::Load load = engine.start(plan, options);
  const std::vector<sluice::Tensor> tensors = plan.tensors();
  for (const auto& of : plan.costs().groups) {
    for (const auto& gpu : gpus) {
      load.wait_on(gpu->stream(), of.group, gpu->id());
      for (const sluice::Tensor& planned : tensors) {
        if (planned.group != of.group || planned.device != gpu->id()) continue;
        const sluice::Tensor& tensor = load.wait_on(gpu->stream(), planned.name, planned.device);  // for its address
        gpu->queue_kernel(tensor.data, tensor.bytes);
      }
    }
  }
  load.wait();  // what went wrong on a GPU after a wait_on() is told here
  for (const auto& gpu : gpus) std::printf("%s: sum of all words %08x\n", name(gpu->id()).c_str(), gpu->take_sum());
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) {
    std::fprintf(stderr, "usage: tensor_parallel PATH\n");
    return 2;
  }
  run(argv[1]);
  return 0;
} catch (const NoGpu& none) {
  std::fprintf(stderr, "tensor_parallel: no GPU: %s\n", none.what());
  return skipped;
} catch (const std::exception& error) {
  std::fprintf(stderr, "tensor_parallel: %s\n", error.what());
  return 1;
}
