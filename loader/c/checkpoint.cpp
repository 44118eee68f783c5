// Checkpoints of sluice.h.
#include "sluice/checkpoint.hpp"

#include <memory>

#include "loader/c/border.hpp"
#include "loader/c/handles.hpp"
#include "loader/c/values.hpp"
#include "sluice/sluice.h"

using namespace sluice::border;

int sluice_checkpoint_open(sluice_string path, std::uint32_t threads, sluice_checkpoint** checkpoint,
                           sluice_error** error) {
  return make(checkpoint, "checkpoint", error, [&] {
    return std::make_unique<sluice_checkpoint>(
        sluice_checkpoint{sluice::Checkpoint::open(sluice::border::path(path), threads)});
  });
}

void sluice_checkpoint_free(sluice_checkpoint* checkpoint) {
  delete checkpoint;
}

int sluice_checkpoint_describe(const sluice_checkpoint* checkpoint, sluice_checkpoint_info* info,
                               sluice_error** error) {
  return run(error, [&] {
    const sluice::Checkpoint& opened = required(checkpoint, "checkpoint").checkpoint;
    auto known = SLUICE_INIT(sluice_checkpoint_info);
    known.shards = static_cast<std::uint32_t>(opened.shards().size());
    known.tensors = opened.tensors().size();
    known.bytes = opened.bytes();
    known.open_seconds = opened.open_seconds();
    known.open_cpu_seconds = opened.open_cpu_seconds();
    known.path = string(opened.path().native());
    give(known, info, "info");
  });
}

int sluice_checkpoint_tensor(const sluice_checkpoint* checkpoint, std::uint64_t index, sluice_tensor_info* info,
                             sluice_error** error) {
  return run(error, [&] {
    const auto tensors = required(checkpoint, "checkpoint").checkpoint.tensors();
    check_index(index, tensors.size(), "index");
    give(info_of(tensors[index]), info, "info");
  });
}

int sluice_checkpoint_find(const sluice_checkpoint* checkpoint, sluice_string name, sluice_tensor_info* info,
                           int* found, sluice_error** error) {
  return run(error, [&] {
    const sluice::TensorInfo* const tensor = required(checkpoint, "checkpoint").checkpoint.find(string(name, "name"));
    int& is_there = required(found, "found");
    if (tensor != nullptr && info != nullptr) give(info_of(*tensor), info, "info");
    is_there = tensor == nullptr ? 0 : 1;
  });
}

int sluice_checkpoint_shard(const sluice_checkpoint* checkpoint, std::uint32_t index, sluice_shard* shard,
                            sluice_error** error) {
  return run(error, [&] {
    const auto shards = required(checkpoint, "checkpoint").checkpoint.shards();
    check_index(index, shards.size(), "index");
    const sluice::Shard& opened = shards[index];
    auto known = SLUICE_INIT(sluice_shard);
    known.direct_memory_alignment = opened.direct_memory_alignment;
    known.direct_offset_alignment = opened.direct_offset_alignment;
    known.metadata = static_cast<std::uint32_t>(opened.metadata.size());
    known.path = string(opened.path.native());
    known.bytes = opened.bytes;
    known.data_offset = opened.data_offset;
    give(known, shard, "shard");
  });
}

int sluice_checkpoint_metadata(const sluice_checkpoint* checkpoint, std::uint32_t shard, std::uint32_t index,
                               sluice_string* name, sluice_string* value, sluice_error** error) {
  return run(error, [&] {
    const auto shards = required(checkpoint, "checkpoint").checkpoint.shards();
    check_index(shard, shards.size(), "shard");
    const auto& metadata = shards[shard].metadata;
    check_index(index, metadata.size(), "index");
    sluice_string& name_out = required(name, "name");
    required(value, "value") = string(metadata[index].second);
    name_out = string(metadata[index].first);
  });
}
