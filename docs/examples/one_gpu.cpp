// Computes on one GPU while later layers still arrive: one_gpu PATH
//
// Each layer is a group. Groups are read in ascending order, and the engine's stream waits for one group after the
// other, so that kernels of layer 0 run while layer 1 is being copied and layer 2 being read. The host waits for
// storage only.
#include <cstdint>
#include <cstdio>
#include <exception>
#include <sluice/sluice.hpp>
#include <string>
#include <vector>

#include "gpu.hpp"

namespace {

std::string layer_prefix(std::uint32_t layer) {
  return "model.layers." + std::to_string(layer) + ".";
}

std::uint32_t layers_of(const sluice::Checkpoint& checkpoint) {
  std::uint32_t layers = 0;
  while (checkpoint.find(layer_prefix(layers) + "input_layernorm.weight") != nullptr) ++layers;
  return layers;
}

void run(const char* path) {
  Gpu gpu(0);  // its memory and its stream outlive the load
  sluice::Engine engine;
  engine.prepare({gpu.id()});  // the driver starts while the checkpoint is opened and planned
  const auto checkpoint = sluice::Checkpoint::open(path);
  const std::uint32_t layers = layers_of(checkpoint);

  // Group 0 is what comes before the layers, group i + 1 is layer i, and the last is what comes after them.
  const sluice::Group first{0};
  const sluice::Group last{layers + 1};
  sluice::Request request;
  request.devices = {gpu.id()};
  request.add("model.embed_tokens.weight").group(first);
  for (std::uint32_t layer = 0; layer < layers; ++layer) request.add(layer_prefix(layer) + "*").group({layer + 1});
  request.add("model.norm.weight").group(last);
  request.add("lm_head.weight").group(last).optional();  // some models use the embeddings again
  request.strict = true;  // a tensor that no rule knows is a model that this engine does not know
  const auto plan = sluice::make_plan(checkpoint, request, engine.options());
  const std::vector<sluice::Tensor> tensors = plan.tensors();
  std::printf("%u layers, %zu tensors\n", layers, tensors.size());

  // The engine's own memory, as queued kernels may still read it when something goes wrong: a load that ends early
  // frees what is its own.
  const std::uint64_t bytes = plan.costs().devices.at(0).arena_bytes;
  const sluice::Load load = engine.start(plan, {.arenas = {{gpu.id(), gpu.allocate(bytes), bytes}}});
  std::uint32_t queued = 0;
  for (std::uint32_t group = first.number; group <= last.number; ++group) {
    load.wait_on(gpu.stream(), sluice::Group{group}, gpu.id());
    for (const sluice::Tensor& planned : tensors) {
      if (planned.group.number != group) continue;
      // Its address. The stream waits already, and the host need not: the group is read.
      const sluice::Tensor& tensor = load.wait_on(gpu.stream(), planned.name);
      gpu.queue_kernel(tensor.data, tensor.bytes);
      ++queued;
    }
  }
  load.wait();  // what went wrong on the GPU after a wait_on() is told here
  std::printf("%u kernels, sum of all words %08x\n", queued, gpu.take_sum());
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) {
    std::fprintf(stderr, "usage: one_gpu PATH\n");
    return 2;
  }
  run(argv[1]);
  return 0;
} catch (const NoGpu& none) {
  std::fprintf(stderr, "one_gpu: no GPU: %s\n", none.what());
  return skipped;
} catch (const std::exception& error) {
  std::fprintf(stderr, "one_gpu: %s\n", error.what());
  return 1;
}
