// Loads what README's request for tensor parallel asks for onto two simulated GPUs, and compares each byte with the
// checkpoint's.
#include <cstdint>
#include <cstdio>
#include <exception>
#include <sluice/sluice.hpp>
#include <string>
#include <vector>

#include "tests/loader/support/shard_writer.hpp"

namespace {

struct Sizes {
  std::uint64_t hidden, q, kv;
};
#include "attention.inc"

using Bytes = std::vector<std::byte>;
constexpr Sizes size = {.hidden = 32, .q = 48, .kv = 16};
constexpr std::uint64_t element = 2;  // bytes of a BF16

// Rows and columns of a tensor of so many columns.
void append(Bytes& bytes, const sluice::TestTensor& from, std::uint64_t row, std::uint64_t rows, std::uint64_t column,
            std::uint64_t columns) {
  const Bytes content = from.content();
  for (std::uint64_t i = row; i < row + rows; ++i) {
    const auto begin = content.begin() + static_cast<std::ptrdiff_t>((i * from.shape[1] + column) * element);
    bytes.insert(bytes.end(), begin, begin + static_cast<std::ptrdiff_t>(columns * element));
  }
}

bool holds(const sluice::Load& load, const std::string& name, sluice::DeviceId device, const Bytes& want) {
  const sluice::Tensor& tensor = load.wait(name, device);
  Bytes bytes(tensor.bytes);
  load.read_back(tensor, 0, bytes.data(), bytes.size());
  if (bytes == want) return true;
  std::printf("%s on %s is not what it should be\n", name.c_str(), sluice::name(device).c_str());
  return false;
}

bool run() {
  const std::vector<sluice::DeviceId> gpus = {sluice::cuda(0), sluice::cuda(1)};
  const std::string name = "model.layers.0.self_attn.";
  const sluice::TestTensor q = {name + "q_proj.weight", sluice::bf16, {size.q, size.hidden}};
  const sluice::TestTensor k = {name + "k_proj.weight", sluice::bf16, {size.kv, size.hidden}};
  const sluice::TestTensor v = {name + "v_proj.weight", sluice::bf16, {size.kv, size.hidden}};
  const sluice::TestTensor o = {name + "o_proj.weight", sluice::bf16, {size.hidden, size.q}};
  const sluice::TemporaryFolder folder;
  const auto file = sluice::write_shard(folder, "model.safetensors", {q, k, v, o});
  sluice::Engine engine;
  sluice::Request request;
  request.devices = gpus;
  request.strict = true;
  add_attention(request, 0, size);
  const auto plan = sluice::make_plan(sluice::Checkpoint::open(file), request, engine.options());
  const sluice::Load load = engine.start(plan);
  bool right = plan.tensors().size() == 4;
  for (std::uint64_t gpu = 0; gpu < gpus.size(); ++gpu) {
    Bytes qkv;
    append(qkv, q, gpu * size.q / 2, size.q / 2, 0, size.hidden);
    append(qkv, k, gpu * size.kv / 2, size.kv / 2, 0, size.hidden);
    append(qkv, v, gpu * size.kv / 2, size.kv / 2, 0, size.hidden);
    Bytes columns;
    append(columns, o, 0, size.hidden, gpu * size.q / 2, size.q / 2);
    right = holds(load, name + "qkv", gpus[gpu], qkv) && holds(load, o.name, gpus[gpu], columns) && right;
  }
  load.wait();
  return right;
}

}  // namespace

int main() try { return run() ? 0 : 1; } catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
