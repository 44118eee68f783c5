// CatalogueBuilder: catalogues without files, for tests of what works on a catalogue alone.
//
//     CatalogueBuilder builder;
//     builder.shard(4096).tensor("a", bf16, {16, 8}).tensor("b", f32, {});   // data begin at 4096, back to back
//     std::shared_ptr<const Catalogue> catalogue = builder.build();
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "loader/format/catalogue.hpp"

namespace sluice {

inline constexpr std::uint64_t kib = 1024;

class CatalogueBuilder {
 public:
  /// Begins a shard whose tensor data begin at `data_offset`, which is 8 + the length of a real shard's header.
  CatalogueBuilder& shard(std::uint64_t data_offset = 4096) {
    Shard& shard = catalogue_->shards.emplace_back();
    shard.path = "shard-" + std::to_string(catalogue_->shards.size() - 1) + ".safetensors";
    shard.data_offset = data_offset;
    shard.bytes = data_offset;
    return *this;
  }

  /// Adds a tensor behind those that the shard has. Elements of packed dtypes must fill whole bytes.
  CatalogueBuilder& tensor(const std::string& name, Dtype dtype, const std::vector<std::uint64_t>& shape) {
    if (catalogue_->shards.empty()) shard();
    Shard& shard = catalogue_->shards.back();
    const auto& characters = catalogue_->names.emplace_back(new char[name.size()]);
    std::copy(name.begin(), name.end(), characters.get());
    const auto& extents = catalogue_->shapes.emplace_back(new std::uint64_t[shape.size()]);
    std::copy(shape.begin(), shape.end(), extents.get());
    std::uint64_t elements = 1;
    for (const std::uint64_t extent : shape) elements *= extent;

    TensorInfo& tensor = catalogue_->tensors.emplace_back();
    tensor.name = {characters.get(), name.size()};
    tensor.shape = {extents.get(), shape.size()};
    tensor.offset = shard.bytes;
    tensor.bytes = elements / 8 * bits(dtype) + elements % 8 * bits(dtype) / 8;
    tensor.shard = static_cast<std::uint32_t>(catalogue_->shards.size() - 1);
    tensor.dtype = dtype;
    shard.bytes += tensor.bytes;
    catalogue_->bytes += tensor.bytes;
    return *this;
  }

  /// A tensor of that many bytes.
  CatalogueBuilder& bytes(const std::string& name, std::uint64_t count) { return tensor(name, Dtype::u8, {count}); }

  /// What was added so far. The builder is empty afterwards.
  std::shared_ptr<const Catalogue> build() {
    catalogue_->path = "model";
    catalogue_->by_name.enter(catalogue_->tensors);
    return std::exchange(catalogue_, std::make_shared<Catalogue>());
  }

 private:
  std::shared_ptr<Catalogue> catalogue_ = std::make_shared<Catalogue>();
};

}  // namespace sluice
