// A user of the installed library: writes a checkpoint of one tensor into the working folder, loads it, compares.
// Built against the library in every way that a project can take it in.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sluice/sluice.hpp>
#include <string>

int main() {
  const std::string header = R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  const float values[] = {1.5f, -2.0f};
  const std::uint64_t header_bytes = header.size();
  std::ofstream("consumer.safetensors", std::ios::binary)
      .write(reinterpret_cast<const char*>(&header_bytes), sizeof header_bytes)
      .write(header.data(), static_cast<std::streamsize>(header.size()))
      .write(reinterpret_cast<const char*>(values), sizeof values);

  const auto checkpoint = sluice::Checkpoint::open("consumer.safetensors");
  sluice::Request request;
  request.add("*");
  sluice::Engine engine;
  const auto load = engine.start(sluice::make_plan(checkpoint, request));
  const sluice::Tensor& x = load.wait("x");
  const bool same =
      x.dtype == sluice::f32 && x.bytes == sizeof values && std::memcmp(x.data, values, sizeof values) == 0;

  // Errors must be catchable across the library's border, which hidden visibility can break.
  bool caught = false;
  try {
    sluice::Checkpoint::open("no such checkpoint");
  } catch (const sluice::Error& error) {
    caught = error.code() == sluice::ErrorCode::not_found;
  }
  std::printf("tensor %s, error %s\n", same ? "right" : "WRONG", caught ? "caught" : "NOT CAUGHT");
  return same && caught ? 0 : 1;
}
