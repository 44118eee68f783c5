// Slices of sluice.h.
#include "sluice/slice.hpp"

#include <memory>
#include <vector>

#include "loader/c/border.hpp"
#include "loader/c/handles.hpp"
#include "loader/c/values.hpp"
#include "sluice/limits.hpp"
#include "sluice/sluice.h"

using namespace sluice::border;

namespace {

// The owner of a slice under the name that it has in C.
struct SliceOwner {
  std::unique_ptr<sluice::Slice> slice;
  sluice_slice* release() noexcept { return reinterpret_cast<sluice_slice*>(slice.release()); }
};

}  // namespace

int sluice_slice_new(sluice_slice** slice, sluice_error** error) {
  return make(slice, "slice", error, [] { return SliceOwner{std::make_unique<sluice::Slice>()}; });
}
int sluice_slice_copy(const sluice_slice* slice, sluice_slice** copy, sluice_error** error) {
  return make(copy, "copy", error,
              [&] { return SliceOwner{std::make_unique<sluice::Slice>(required(inner(slice), "slice"))}; });
}
void sluice_slice_free(sluice_slice* slice) {
  delete inner(slice);
}

int sluice_slice_as(sluice_slice* slice, const std::uint64_t* shape, std::uint32_t dimensions, sluice_error** error) {
  return run(error, [&] { required(inner(slice), "slice").as(numbers_of(shape, dimensions, "shape")); });
}
int sluice_slice_take(sluice_slice* slice, std::uint32_t dimension, std::uint64_t begin, std::uint64_t count,
                      sluice_error** error) {
  return run(error, [&] { required(inner(slice), "slice").take(dimension, begin, count); });
}
int sluice_slice_at(sluice_slice* slice, std::uint32_t dimension, std::uint64_t index, sluice_error** error) {
  return run(error, [&] { required(inner(slice), "slice").at(dimension, index); });
}
int sluice_slice_part(sluice_slice* slice, std::uint32_t dimension, std::uint64_t index, std::uint64_t parts,
                      sluice_error** error) {
  return run(error, [&] { required(inner(slice), "slice").part(dimension, index, parts); });
}
int sluice_slice_order(sluice_slice* slice, const std::uint32_t* order, std::uint32_t dimensions,
                       sluice_error** error) {
  return run(error, [&] {
    const auto all = list(order, dimensions, sluice::limits::dimensions_max, "order");
    required(inner(slice), "slice").order(std::vector<unsigned>(all.begin(), all.end()));
  });
}
int sluice_slice_blocks_of(const sluice_slice* of, const std::uint64_t* shape, const std::uint64_t* block,
                           std::uint32_t dimensions, sluice_slice** blocks, sluice_error** error) {
  return make(blocks, "blocks", error, [&] {
    const sluice::Slice everything;
    const sluice::Slice& known = of == nullptr ? everything : *inner(of);
    return SliceOwner{std::make_unique<sluice::Slice>(
        sluice::blocks_of(known, numbers_of(shape, dimensions, "shape"), numbers_of(block, dimensions, "block")))};
  });
}
int sluice_slice_text(const sluice_slice* slice, sluice_text** text, sluice_error** error) {
  return make(text, "text", error, [&] {
    return std::make_unique<sluice_text>(sluice_text{sluice::text(required(inner(slice), "slice"))});
  });
}

int sluice_slice_describe(const sluice_slice* slice, sluice_slice_info* info, sluice_error** error) {
  return run(error, [&] {
    const sluice::Slice& said = required(inner(slice), "slice");
    auto known = SLUICE_INIT(sluice_slice_info);
    known.is_reshaped = said.is_reshaped() ? 1 : 0;
    known.is_reordered = said.is_reordered() ? 1 : 0;
    known.cuts = static_cast<std::uint32_t>(said.cuts().size());
    known.shape = said.shape().begin();
    known.order = said.dimensions().begin();
    known.shape_dimensions = static_cast<std::uint32_t>(said.shape().size());
    known.order_dimensions = static_cast<std::uint32_t>(said.dimensions().size());
    give(known, info, "info");
  });
}
int sluice_slice_cut(const sluice_slice* slice, std::uint32_t index, sluice_cut* cut, sluice_error** error) {
  return run(error, [&] {
    const sluice::Slice& said = required(inner(slice), "slice");
    check_index(index, said.cuts().size(), "index");
    const sluice::Slice::Cut& one = said.cuts()[index];
    auto known = SLUICE_INIT(sluice_cut);
    known.kind = static_cast<std::uint32_t>(one.kind);
    known.dimension = one.dimension;
    known.first = one.first;
    known.second = one.second;
    give(known, cut, "cut");
  });
}
