// Serves one checkpoint on a GPU, then replaces its weights by another's at the same addresses: reload FIRST SECOND
//
// Graphs that were captured with the first stay valid. Ctrl-C cancels; what a reload that ends early leaves behind is
// told group by group.
#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <sluice/sluice.hpp>
#include <string>
#include <vector>

#include "gpu.hpp"

namespace {

// All that a signal handler may do.
volatile std::sig_atomic_t interrupted = 0;
void interrupt(int) {
  interrupted = 1;
}

void say(const std::string& text) {
  std::printf("%s\n", text.c_str());
  std::fflush(stdout);
}

// Each layer is a group, so that it can be told after a reload that ended early which layers are whole.
sluice::Request request_for(const sluice::Checkpoint& checkpoint, sluice::DeviceId device) {
  sluice::Request request;
  request.devices = {device};
  const auto prefix = [](std::uint32_t layer) { return "model.layers." + std::to_string(layer) + "."; };
  std::uint32_t layer = 0;
  for (; checkpoint.find(prefix(layer) + "input_layernorm.weight") != nullptr; ++layer) {
    request.add(prefix(layer) + "*").group({layer + 1});
  }
  request.add("model.embed_tokens.weight").group({0});
  request.add("*").group({layer + 1});
  return request;
}

void show(const sluice::Progress& progress) {
  std::fprintf(stderr, "\r%llu of %llu bytes read", static_cast<unsigned long long>(progress.bytes_read),
               static_cast<unsigned long long>(progress.bytes_total));
}

// Waits for the load's end, and shows how far it is; or its Error, which a cancel is, too.
void watch(sluice::Load& load) {
  pollfd arrivals{load.descriptor(), POLLIN, 0};
  while (!load.progress().finished) {
    if (interrupted != 0) load.cancel();  // returns at once; wait() below throws
    show(load.progress());
    // Until something arrives, or a tenth of a second: the system may have refused the descriptor, and a signal may
    // come just before this call.
    if (poll(&arrivals, 1, 100) != 1) continue;
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = read(arrivals.fd, &count, sizeof count);  // so that it waits again
  }
  show(load.progress());
  std::fprintf(stderr, "\n");
  load.wait();
}

// Queues the engine's work on all weights, and waits for it.
void serve(Gpu& gpu, const sluice::Load& load, const std::vector<sluice::Tensor>& tensors, const char* what) {
  for (const sluice::Tensor& tensor : tensors) gpu.queue_kernel(load.wait(tensor.name).data, tensor.bytes);
  char text[64];
  std::snprintf(text, sizeof text, "%s: sum of all words %08x", what, gpu.take_sum());
  say(text);
}

void run(const char* first_path, const char* second_path) {
  Gpu gpu(0);
  sluice::Engine engine;
  const auto first = sluice::Checkpoint::open(first_path);
  const auto plan = sluice::make_plan(first, request_for(first, gpu.id()), engine.options());
  // The same names and shapes, or an Error: told before anything of the first is overwritten.
  const auto next = sluice::make_plan(sluice::Checkpoint::open(second_path), plan);
  const std::vector<sluice::Tensor> tensors = plan.tensors();
  say("planned");

  // The engine's own memory, as queued kernels may read it when a load has ended: a load frees what is its own.
  const std::uint64_t bytes = plan.costs().devices.at(0).arena_bytes;
  const std::vector<sluice::Memory> memory = {{gpu.id(), gpu.allocate(bytes), bytes}};
  sluice::Load load = engine.start(plan, {.arenas = memory});
  watch(load);
  serve(gpu, load, tensors, "first");

  // Work that was queued on the stream is done before its weights are overwritten.
  for (const sluice::Tensor& tensor : tensors) gpu.queue_kernel(load.find(tensor.name)->data, tensor.bytes);
  sluice::Load update = engine.start(next, {.arenas = memory, .after = {{gpu.id(), gpu.stream()}}});
  try {
    watch(update);
  } catch (const sluice::Error&) {
    gpu.synchronize();  // the work that the reload was to wait for
    // Nothing writes any more. Groups that are not whole are of the first, or torn: before it serves again, the engine
    // loads one of both checkpoints.
    for (const auto& of : plan.costs().groups) {
      const bool whole = update.ready(of.group, gpu.id());
      say("group " + std::to_string(of.group.number) + (whole ? ": the second's" : ": not whole"));
    }
    throw;
  }
  std::printf("first, once more: sum of all words %08x\n", gpu.take_sum());
  serve(gpu, update, tensors, "second");
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::fprintf(stderr, "usage: reload FIRST SECOND\n");
    return 2;
  }
  std::signal(SIGINT, interrupt);
  run(argv[1], argv[2]);
  return 0;
} catch (const NoGpu& none) {
  std::fprintf(stderr, "reload: no GPU: %s\n", none.what());
  return skipped;
} catch (const std::exception& error) {
  std::fprintf(stderr, "reload: %s\n", error.what());
  return 1;
}
