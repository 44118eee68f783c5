// experts(): a catalogue shaped like a mixture-of-experts model in NVFP4, in memory: a packed weight, its block scales
// and two scalars per projection.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <string>

#include "tests/loader/support/catalogue_builder.hpp"

namespace sluice {

inline std::shared_ptr<const Catalogue> experts(std::uint32_t tensors) {
  constexpr std::uint32_t tensors_per_shard = 832;
  CatalogueBuilder builder;
  for (std::uint32_t i = 0; i < tensors; ++i) {
    if (i % tensors_per_shard == 0) builder.shard(120'008);
    const std::string name = fmt::format("model.layers.{}.mlp.experts.{}.up_proj.", i / 4096, i / 4);
    switch (i % 4) {
      case 0:
        builder.tensor(name + "weight", Dtype::u8, {2048, 1024});
        break;
      case 1:
        builder.tensor(name + "weight_scale", f8_e4m3, {2048, 128});
        break;
      case 2:
        builder.tensor(name + "weight_scale_2", f32, {});
        break;
      default:
        builder.tensor(name + "input_scale", f32, {});
        break;
    }
  }
  return builder.build();
}

}  // namespace sluice
