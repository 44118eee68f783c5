// Image: the code that a program gave the driver, a fatbinary or PTX text, as the interpreter runs it. Only the PTX of
// a fatbinary is looked at: its cubins were assembled from that.
#pragma once

#include <memory>
#include <string>

#include "tests/sim/control.hpp"
#include "tests/sim/ptx/module.hpp"

namespace sluice::sim {

struct Image {
  ptx::Module module;
};

struct LoadedImage {
  cu::Result result = cu::Result::success;
  std::shared_ptr<const Image> image;
  std::string problem;  // why it does not parse
};

/// As a driver for this version of CUDA would. Not thread-safe: the driver calls it under its lock.
LoadedImage load_image(const void* data, int driver_version);

}  // namespace sluice::sim
