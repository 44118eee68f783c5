// Goal: whatever is asked of whatever checkpoint, a plan delivers every requested byte once, to the right place, and
// touches nothing else; and its costs are what carrying it out takes.
// Method: random catalogues and requests; each plan is carried out on byte arrays, where every byte read and every byte
// written is counted, and compared with the request worked out tensor by tensor. Then worked examples, and sizes at the
// end.
#include "loader/plan/plan.hpp"

#include <fmt/format.h>
#include <fnmatch.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <map>
#include <optional>

#include "loader/base/limits.hpp"
#include "loader/plan/access.hpp"
#include "loader/plan/gather.hpp"
#include "sluice/error.hpp"
#include "tests/loader/support/catalogue_builder.hpp"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint64_t mib = 1024 * kib;

// --- random catalogues and requests --------------------------------------------------------------------------------

std::uint64_t draw(std::uint64_t least, std::uint64_t most) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange<std::uint64_t>(least, most + 1));
}

Dtype draw_dtype() {
  return static_cast<Dtype>(draw(0, dtype_count - 1));
}

Dtype draw_castable() {
  constexpr std::array castable = {f64, f32, f16, bf16, f8_e4m3, f8_e5m2};
  return castable[draw(0, castable.size() - 1)];
}

// Elements in eights, so that packed dtypes fill whole bytes.
std::uint64_t draw_eights() {
  switch (draw(0, 9)) {
    case 0:
      return 0;
    case 1:
    case 2:
    case 3:
      return draw(1, 8);
    case 4:
    case 5:
    case 6:
      return draw(1, 500);
    case 7:
    case 8:
      return draw(500, 5'000);
    default:
      return draw(5'000, 60'000);
  }
}

std::shared_ptr<const Catalogue> draw_catalogue() {
  CatalogueBuilder builder;
  const std::uint64_t shards = draw(1, 3);
  for (std::uint64_t shard = 0; shard < shards; ++shard) {
    // Writers pad headers to 8 bytes, as a rule; the format does not ask for it.
    builder.shard(draw(0, 2) == 0 ? draw(10, 9'000) : 8 * draw(2, 2'000));
    const bool one_dtype = draw(0, 1) == 0;
    const Dtype dtype = draw_dtype();
    const std::uint64_t tensors = draw(1, 12);
    for (std::uint64_t i = 0; i < tensors; ++i) {
      builder.tensor(fmt::format("s{}.t{}", shard, i), one_dtype ? dtype : draw_dtype(), {draw_eights(), 8});
    }
  }
  return builder.build();
}

std::vector<DeviceId> draw_devices() {
  std::vector<DeviceId> devices = {host(), cuda(0), cuda(1), null()};
  if (draw(0, 1) == 0) return {host()};
  for (std::size_t i = devices.size() - 1; i > 0; --i) std::swap(devices[i], devices[draw(0, i)]);
  devices.resize(draw(1, devices.size()));
  return devices;
}

Request draw_request() {
  constexpr std::array patterns = {"s0.*", "s1.*", "*.t1", "*.t[0-4]", "*[02468]", "s?.t?", "s0.t0", "s1.t3", "s0.t1*"};
  Request request;
  request.devices = draw_devices();
  if (draw(0, 2) == 0) request.alignment_bytes = 1u << draw(0, 12);
  const std::uint64_t rules = draw(0, 4);
  for (std::uint64_t i = 0; i <= rules; ++i) {
    Rule& rule = request.add(i == rules && draw(0, 2) != 0 ? "*" : patterns[draw(0, patterns.size() - 1)]).optional();
    if (draw(0, 2) == 0) rule.cast(draw_castable());
    if (draw(0, 3) == 0) rule.on(draw_devices());
  }
  return request;
}

Options draw_options() {
  Options options;
  options.slab_bytes = limits::slab_bytes_unit * draw(1, 8);
  options.staging_bytes = std::max(limits::staging_bytes_min, options.slab_bytes * draw(1, 40));
  return options;
}

// --- what is asked for, tensor by tensor ---------------------------------------------------------------------------

struct Asked {
  std::uint32_t tensor;
  DeviceId device;
  Dtype dtype;
  std::uint64_t bytes;
};

std::vector<Asked> work_out(const Catalogue& catalogue, const Request& request, const std::vector<DeviceId>& order) {
  std::vector<Asked> asked;
  for (std::uint32_t i = 0; i < catalogue.tensors.size(); ++i) {
    const TensorInfo& tensor = catalogue.tensors[i];
    for (const Rule& rule : request.rules()) {
      if (fnmatch(rule.pattern().c_str(), std::string(tensor.name).c_str(), 0) != 0) continue;
      const std::vector<DeviceId>& devices = rule.devices().empty() ? request.devices : rule.devices();
      const Dtype dtype = rule.cast() && is_castable(tensor.dtype) ? *rule.cast() : tensor.dtype;
      for (const DeviceId device : order) {
        if (std::find(devices.begin(), devices.end(), device) == devices.end()) continue;
        asked.push_back({i, device, dtype, tensor.bytes * bits(dtype) / bits(tensor.dtype)});
      }
      break;
    }
  }
  return asked;
}

// --- carrying a plan out -------------------------------------------------------------------------------------------

std::uint8_t content(std::uint32_t shard, std::uint64_t position) {
  return static_cast<std::uint8_t>(((position + 1) * 0x9e3779b97f4a7c15u + shard * 0xd1b54a32d192ed03u) >> 56);
}

// Stands for a cast: any function of one element will do, if it tells elements and bytes apart.
void pretend_to_cast(const std::uint8_t* source, std::uint64_t source_unit, std::uint8_t* target,
                     std::uint64_t target_unit) {
  for (std::uint64_t i = 0; i < target_unit; ++i) {
    target[i] = static_cast<std::uint8_t>(source[i % source_unit] + 3 * source[source_unit - 1] + 17 * i);
  }
}

class Rehearsal {
 public:
  explicit Rehearsal(const PlanData& plan) : plan_(plan) {
    for (std::uint32_t shard = 0; shard < plan.catalogue->shards.size(); ++shard) {
      Bytes& file = files_.emplace_back(plan.catalogue->shards[shard].bytes);
      for (std::uint64_t i = 0; i < file.size(); ++i) file[i] = content(shard, i);
      read_.emplace_back(file.size());
    }
    for (const PlanCosts::OnDevice& device : plan.costs.devices) {
      arenas_.emplace_back(device.arena_bytes);
      written_.emplace_back(device.arena_bytes);
    }
    done_.resize(plan.placements.size());
  }

  void run() {
    for (const Extent& extent : plan_.extents) {
      RC_ASSERT(extent.bytes <= plan_.slab_bytes);
      RC_ASSERT(extent.offset + extent.bytes <= files_[extent.shard].size());
      count(read_[extent.shard], extent.offset, extent.bytes);
      std::map<std::uint8_t, std::vector<Delivery>> by_device;
      for (const Delivery& delivery : plan_.deliveries_of(extent)) {
        by_device[plan_.placements[delivery.placement].device].push_back(delivery);
        ++done_[delivery.placement];
      }
      RC_ASSERT(!by_device.empty());
      if (extent.in_place) {
        RC_ASSERT(by_device.size() == 1u);
        read_in_place(extent, by_device.begin()->first, by_device.begin()->second);
      } else {
        for (const auto& [device, deliveries] : by_device) deliver(extent, device, deliveries);
      }
    }
  }

  const Bytes& arena(std::size_t device) const { return arenas_[device]; }
  const Bytes& written(std::size_t device) const { return written_[device]; }
  const Bytes& read(std::size_t shard) const { return read_[shard]; }
  const Bytes& file(std::size_t shard) const { return files_[shard]; }
  std::uint32_t done(std::size_t placement) const { return done_[placement]; }

  std::uint64_t copies = 0;
  std::uint64_t launches = 0;
  std::vector<bool> scratch = std::vector<bool>(256);

 private:
  static void count(Bytes& counts, std::uint64_t offset, std::uint64_t bytes) {
    RC_ASSERT(offset + bytes <= counts.size());
    for (std::uint64_t i = offset; i < offset + bytes; ++i) ++counts[i];
  }

  void read_in_place(const Extent& extent, std::uint8_t device, const std::vector<Delivery>& deliveries) {
    RC_ASSERT(plan_.devices[device] == host());
    RC_ASSERT(deliveries.front().source_offset == 0u);
    RC_ASSERT(extent.offset % 4096 == 0u);
    RC_ASSERT(extent.bytes % 4096 == 0u);
    const std::uint64_t target = deliveries.front().target_offset;
    RC_ASSERT(target % 4096 == 0u);
    count(written_[device], target, extent.bytes);
    std::memcpy(&arenas_[device][target], &files_[extent.shard][extent.offset], extent.bytes);
  }

  void deliver(const Extent& extent, std::uint8_t device, const std::vector<Delivery>& deliveries) {
    const Bytes slab(files_[extent.shard].begin() + static_cast<std::ptrdiff_t>(extent.offset),
                     files_[extent.shard].begin() + static_cast<std::ptrdiff_t>(extent.offset + extent.bytes));
    struct Taker {
      Rehearsal& rehearsal;
      const Bytes& slab;
      std::uint8_t device;
      std::uint64_t copies = 0;
      std::uint64_t casts = 0;
      std::optional<Copy> last = {};

      void operator()(const Copy& copy) {
        RC_ASSERT(copy.source_offset + copy.bytes <= slab.size());
        if (last && last->source_offset + last->bytes == copy.source_offset) {
          RC_ASSERT(last->target_offset + last->bytes != copy.target_offset);  // or they were one copy
        }
        last = copy;
        count(rehearsal.written_[device], copy.target_offset, copy.bytes);
        std::memcpy(&rehearsal.arenas_[device][copy.target_offset], &slab[copy.source_offset], copy.bytes);
        ++copies;
      }

      void operator()(const Delivery& delivery) {
        const Placement& placement = rehearsal.plan_.placements[delivery.placement];
        const std::uint64_t source_unit = bits(rehearsal.plan_.catalogue->tensors[placement.tensor].dtype) / 8;
        const std::uint64_t target_unit = bits(placement.dtype) / 8;
        RC_ASSERT(delivery.rows == 1u);
        RC_ASSERT(delivery.run_bytes % source_unit == 0u);
        RC_ASSERT(delivery.source_offset + delivery.run_bytes <= slab.size());
        const std::uint64_t elements = delivery.run_bytes / source_unit;
        count(rehearsal.written_[device], delivery.target_offset, elements * target_unit);
        for (std::uint64_t i = 0; i < elements; ++i) {
          pretend_to_cast(&slab[delivery.source_offset + i * source_unit], source_unit,
                          &rehearsal.arenas_[device][delivery.target_offset + i * target_unit], target_unit);
        }
        ++casts;
      }
    } taker{*this, slab, device};
    coalesce(plan_, deliveries, taker);
    if (plan_.devices[device] == host() || (taker.casts == 0 && taker.copies <= 4)) {
      copies += taker.copies;
      launches += taker.casts;
    } else {
      // Its bytes and the table behind the extent, where those of the devices before it come first.
      std::uint64_t end = 0;
      for (const Delivery& delivery : deliveries) {
        end = std::max<std::uint64_t>(end, delivery.source_offset + delivery.run_bytes);
      }
      const auto tables_before = static_cast<std::uint64_t>(
          std::count_if(plan_.deliveries_of(extent).begin(), plan_.deliveries_of(extent).end(),
                        [&](const Delivery& other) { return plan_.placements[other.placement].device < device; }));
      const std::uint64_t table = (extent.bytes + 15) / 16 * 16 + 40 * tables_before;
      const Part& part = *std::find_if(plan_.parts_of(extent).begin(), plan_.parts_of(extent).end(),
                                       [&](const Part& its) { return its.device == device; });
      if (part.gathered) {
        copies += 1 + count_gathers(deliveries, slab);
      } else {
        const bool along = tables_before == 0 && table - (end + 15) / 16 * 16 <= 64 * 1024;
        copies += along ? 1 : 2;
      }
      ++launches;
      scratch[device] = true;
    }
  }

  // Copies only what is needed, and holds it against all: what is delivered must be there.
  static std::uint64_t count_gathers(const std::vector<Delivery>& deliveries, const Bytes& slab) {
    std::uint64_t count = 0;
    Bytes present(slab.size() + 16);
    gather(deliveries, [&](const Gather& some) {
      ++count;
      for (std::uint64_t row = 0; row < some.rows; ++row) {
        const std::uint64_t begin = some.offset + row * some.stride;
        RC_ASSERT(begin + some.bytes <= present.size());
        std::fill_n(present.begin() + static_cast<std::ptrdiff_t>(begin), some.bytes, std::uint8_t{1});
      }
    });
    for (const Delivery& delivery : deliveries) {
      for (std::uint64_t row = 0; row < delivery.rows; ++row) {
        const auto begin =
            present.begin() + static_cast<std::ptrdiff_t>(delivery.source_offset + row * delivery.source_stride);
        RC_ASSERT(std::count(begin, begin + delivery.run_bytes, 1) == delivery.run_bytes);
      }
    }
    return count;
  }

  const PlanData& plan_;
  std::vector<Bytes> files_;    // by shard
  std::vector<Bytes> read_;     // how often each byte was
  std::vector<Bytes> arenas_;   // by device
  std::vector<Bytes> written_;  // how often each byte was
  std::vector<std::uint32_t> done_;
};

// The bytes of a tensor as they should arrive.
Bytes expected_bytes(const TensorInfo& tensor, const Asked& asked, const Bytes& file) {
  const auto begin = file.begin() + static_cast<std::ptrdiff_t>(tensor.offset);
  Bytes source(begin, begin + static_cast<std::ptrdiff_t>(tensor.bytes));
  if (asked.dtype == tensor.dtype) return source;
  const std::uint64_t source_unit = bits(tensor.dtype) / 8;
  const std::uint64_t target_unit = bits(asked.dtype) / 8;
  Bytes target(asked.bytes);
  for (std::uint64_t i = 0; i * source_unit < source.size(); ++i) {
    pretend_to_cast(&source[i * source_unit], source_unit, &target[i * target_unit], target_unit);
  }
  return target;
}

// What sluice/request.hpp says of a tensor's address.
std::uint64_t promised_alignment(const TensorInfo& tensor, const Asked& asked, const Request& request) {
  if (request.alignment_bytes != 0) return request.alignment_bytes;
  const std::uint64_t natural = natural_alignment(asked.dtype);
  const std::uint64_t usual =
      std::max<std::uint64_t>(natural, std::min<std::uint64_t>(256, std::bit_floor(asked.bytes)));
  if (asked.device != host() || asked.dtype != tensor.dtype) return usual;
  const std::uint64_t in_shard = tensor.offset & (~tensor.offset + 1);
  return std::max(natural, std::min(usual, in_shard));
}

RC_GTEST_PROP(Plan, DeliversEveryRequestedByteOnceToItsPlaceAndTouchesNothingElse, ()) {
  const std::shared_ptr<const Catalogue> catalogue = draw_catalogue();
  const Request request = draw_request();
  const Options options = draw_options();
  const Plan plan = make_plan(catalogue, request, options);
  const PlanData& data = *Access::data(plan);
  RC_ASSERT(check_plan(data) == "");
  Rehearsal rehearsal(data);
  rehearsal.run();

  const std::vector<Asked> asked = work_out(*catalogue, request, data.devices);
  const std::vector<Tensor> listed = plan.tensors();
  RC_ASSERT(listed.size() == asked.size());
  std::vector<Bytes> taken;  // by device: which bytes of the arena a tensor has
  for (const PlanCosts::OnDevice& device : plan.costs().devices) taken.emplace_back(device.arena_bytes);
  std::vector<Bytes> wanted;  // by shard
  for (const Shard& shard : catalogue->shards) wanted.emplace_back(shard.bytes);
  std::uint64_t delivered_bytes = 0;
  for (std::size_t i = 0; i < asked.size(); ++i) {
    const TensorInfo& tensor = catalogue->tensors[asked[i].tensor];
    RC_ASSERT(listed[i].name == tensor.name);
    RC_ASSERT(listed[i].device == asked[i].device);
    RC_ASSERT(listed[i].dtype == asked[i].dtype);
    RC_ASSERT(listed[i].bytes == asked[i].bytes);
    RC_ASSERT((listed[i].shape.data() == tensor.shape.data()));
    RC_ASSERT(!listed[i].data);
    delivered_bytes += asked[i].bytes;

    const Placement& placement = data.placements[i];
    RC_ASSERT(placement.deliveries == rehearsal.done(i));
    if (asked[i].bytes == 0) continue;
    RC_ASSERT(placement.arena_offset % promised_alignment(tensor, asked[i], request) == 0u);
    const Bytes expected = expected_bytes(tensor, asked[i], rehearsal.file(tensor.shard));
    RC_ASSERT(placement.arena_offset + expected.size() <= rehearsal.arena(placement.device).size());
    RC_ASSERT(
        std::equal(expected.begin(), expected.end(),
                   rehearsal.arena(placement.device).begin() + static_cast<std::ptrdiff_t>(placement.arena_offset)));
    for (std::uint64_t b = 0; b < expected.size(); ++b) ++taken[placement.device][placement.arena_offset + b];
    for (std::uint64_t b = 0; b < tensor.bytes; ++b) wanted[tensor.shard][tensor.offset + b] = 1;
  }
  for (std::size_t device = 0; device < data.devices.size(); ++device) {
    RC_ASSERT(rehearsal.written(device) == taken[device]);
    RC_ASSERT(std::all_of(taken[device].begin(), taken[device].end(), [](std::uint8_t times) { return times <= 1; }));
  }

  std::uint64_t read_bytes = 0;
  for (std::size_t shard = 0; shard < catalogue->shards.size(); ++shard) {
    std::uint64_t unwanted = 0;  // in a row
    std::uint64_t unwanted_most = 0;
    bool once = true;
    for (std::uint64_t b = 0; b < catalogue->shards[shard].bytes; ++b) {
      const std::uint8_t times = rehearsal.read(shard)[b];
      once = once && times <= 1 && times >= wanted[shard][b];
      read_bytes += times;
      unwanted = times == 1 && wanted[shard][b] == 0 ? unwanted + 1 : 0;
      unwanted_most = std::max(unwanted_most, unwanted);
    }
    RC_ASSERT(once);
    RC_ASSERT(unwanted_most < limits::gap_bytes_max + 2 * 4096);
  }

  const PlanCosts& costs = plan.costs();
  RC_ASSERT(costs.read_bytes == read_bytes);
  RC_ASSERT(costs.delivered_bytes == delivered_bytes);
  RC_ASSERT(costs.extents == data.extents.size());
  RC_ASSERT(costs.deliveries == data.deliveries.size());
  RC_ASSERT(costs.copies == rehearsal.copies);
  RC_ASSERT(costs.launches == rehearsal.launches);
  const std::uint64_t staged = costs.extents - costs.in_place_extents;
  RC_ASSERT(costs.staging_bytes == std::min(staged, options.staging_bytes / options.slab_bytes) * options.slab_bytes);
  for (std::size_t i = 0; i < costs.devices.size(); ++i) {
    const bool needs_scratch = rehearsal.scratch[i] && costs.devices[i].device.kind == DeviceId::Kind::cuda;
    RC_ASSERT(costs.devices[i].scratch_bytes == (needs_scratch ? 4 * options.slab_bytes : 0));
  }
  RC_CLASSIFY(costs.in_place_extents != 0, "in place");
  RC_CLASSIFY(costs.launches != 0, "casts or launches");
  RC_CLASSIFY(std::any_of(data.extents.begin(), data.extents.end(), [](const Extent& e) { return !e.aligned; }),
              "elements straddle blocks");
}

// --- worked examples -----------------------------------------------------------------------------------------------

// offset + bytes, "in place" or "staged", of each extent.
std::vector<std::string> describe(const PlanData& plan) {
  std::vector<std::string> lines;
  for (const Extent& extent : plan.extents) {
    lines.push_back(fmt::format("{}+{} {}{}", extent.offset, extent.bytes, extent.in_place ? "in place" : "staged",
                                extent.aligned ? "" : " unaligned"));
  }
  return lines;
}

std::vector<std::uint64_t> arena_offsets(const Plan& plan) {
  std::vector<std::uint64_t> offsets;
  for (const Placement& placement : Access::data(plan)->placements) offsets.push_back(placement.arena_offset);
  return offsets;
}

Request everything(std::vector<DeviceId> devices = {host()}) {
  Request request;
  request.devices = std::move(devices);
  request.add("*");
  return request;
}

Options slabs_of(std::uint64_t bytes) {
  Options options;
  options.slab_bytes = bytes;
  return options;
}

TEST(Plan, ReadsAWholeShardInPlaceButForTheBlocksThatItSharesWithHeaderAndEndOfFile) {
  // Data from 1000 to 1000 + 10 MiB: the blocks from 4096 to 10 MiB are read in place, 4 MiB at a time.
  CatalogueBuilder builder;
  builder.shard(1000).tensor("a", f32, {mib}).tensor("b", f32, {mib}).tensor("c", f32, {mib / 2});
  const Plan plan = make_plan(builder.build(), everything(), {});
  EXPECT_THAT(describe(*Access::data(plan)),
              ElementsAre("0+4096 staged", "4096+4194304 in place", "4198400+4194304 in place",
                          "8392704+2093056 in place", "10485760+1000 staged"));
  EXPECT_EQ(plan.costs().read_bytes, 10 * mib + 1000);
  EXPECT_EQ(plan.costs().copies, 2u);  // the two edges
  EXPECT_EQ(plan.costs().launches, 0u);
  EXPECT_EQ(plan.costs().staging_bytes, 2 * 4 * mib);
  // The arena is congruent with the file: "a" begins 1000 bytes behind a block.
  EXPECT_EQ(Access::data(plan)->placements[0].arena_offset, 1000u);
  EXPECT_EQ(plan.costs().devices[0].arena_bytes, 10 * mib + 4096);
}

TEST(Plan, CopiesAShardToAGpuWithOneCopyAnExtent) {
  CatalogueBuilder builder;
  builder.shard(4096);
  for (int i = 0; i < 1000; ++i) builder.tensor(fmt::format("experts.{}", i), bf16, {64, 64});
  const Plan plan = make_plan(builder.build(), everything({cuda(0)}), slabs_of(mib));
  EXPECT_EQ(plan.costs().extents, 9u);  // 1000 tensors of 8 KiB; a sixteenth of each slab is left to a table
  EXPECT_EQ(plan.costs().copies, 9u);
  EXPECT_EQ(plan.costs().launches, 0u);
  EXPECT_EQ(plan.costs().in_place_extents, 0u);
  EXPECT_EQ(plan.costs().devices[0].scratch_bytes, 0u);
}

TEST(Plan, PlacesAfreshWhatTheShardMisaligns) {
  // "odd" leaves what follows at 4353, where a GPU's 256 cannot be kept with "before" in one run: "a" begins a new one,
  // and "b" stays its neighbour.
  CatalogueBuilder builder;
  builder.shard(4096).tensor("before", f32, {64}).bytes("odd", 1).tensor("a", f32, {64}).tensor("b", f32, {64});
  const std::shared_ptr<const Catalogue> catalogue = builder.build();
  const Plan on_gpu = make_plan(catalogue, everything({cuda(0)}), {});
  EXPECT_THAT(arena_offsets(on_gpu), ElementsAre(0, 256, 512, 768));
  EXPECT_EQ(on_gpu.costs().copies, 2u);
  // The host promises no more than what elements of the dtype need.
  const Plan on_host = make_plan(catalogue, everything(), {});
  EXPECT_THAT(arena_offsets(on_host), ElementsAre(0, 256, 260, 516));
}

TEST(Plan, MovesARunAsAWholeToWhereAllOfItIsAligned) {
  // "odd" goes to 255, so that "a" behind it is at a multiple of 256 and both travel in one copy.
  CatalogueBuilder builder;
  builder.shard(4096).bytes("odd", 1).tensor("a", f32, {64});
  const Plan plan = make_plan(builder.build(), everything({cuda(0)}), {});
  EXPECT_THAT(arena_offsets(plan), ElementsAre(255, 256));
  EXPECT_EQ(plan.costs().copies, 1u);
}

TEST(Plan, StagesOnTheHostWhatCannotBeReadInPlaceAndAlignedAtOnce) {
  CatalogueBuilder builder;
  builder.shard(4097).tensor("a", f32, {mib});
  const std::shared_ptr<const Catalogue> catalogue = builder.build();
  const Plan aligned = make_plan(catalogue, everything(), {});
  EXPECT_EQ(aligned.costs().in_place_extents, 0u);
  EXPECT_EQ(Access::data(aligned)->placements[0].arena_offset, 0u);
  // A caller who takes any address gets it in place.
  Request request = everything();
  request.alignment_bytes = 1;
  EXPECT_NE(make_plan(catalogue, request, {}).costs().in_place_extents, 0u);
}

TEST(Plan, CastsInStagedExtentsAndCountsALaunchForEachTensorOnTheHostAndForEachExtentOnAGpu) {
  CatalogueBuilder builder;
  builder.shard(4096).tensor("a", f32, {1024}).tensor("b", f32, {1024}).tensor("ids", Dtype::i64, {512});
  const std::shared_ptr<const Catalogue> catalogue = builder.build();
  Request request;
  request.add("*").cast(bf16);
  const Plan on_host = make_plan(catalogue, request, {});
  EXPECT_EQ(on_host.costs().copies, 1u);
  EXPECT_EQ(on_host.costs().launches, 2u);
  EXPECT_EQ(on_host.tensors()[0].dtype, bf16);
  EXPECT_EQ(on_host.tensors()[0].bytes, 2048u);
  EXPECT_EQ(on_host.tensors()[2].dtype, Dtype::i64);
  request.devices = {cuda(0)};
  const Plan on_gpu = make_plan(catalogue, request, {});
  EXPECT_EQ(on_gpu.costs().copies, 1u);
  EXPECT_EQ(on_gpu.costs().launches, 1u);
  EXPECT_EQ(on_gpu.costs().devices[0].scratch_bytes, 16 * mib);
}

TEST(Plan, CopiesToEachGpuItsPartOfAnExtentThatTheyShare) {
  CatalogueBuilder builder;
  builder.shard(4096).tensor("a", f32, {1 << 18}).tensor("b", f32, {1 << 18}).tensor("c", f32, {100});
  Request request;
  request.add("a").cast(bf16).on(cuda(0));
  request.add("*").cast(bf16).on(cuda(1));
  const Plan plan = make_plan(builder.build(), request, {});
  ASSERT_EQ(plan.costs().extents, 1u);
  const PlanData& data = *Access::data(plan);
  ASSERT_EQ(data.parts.size(), 2u);
  const Part& first = data.parts[0];
  const Part& second = data.parts[1];
  EXPECT_EQ(first.scratch_begin, 0u);
  EXPECT_EQ(first.scratch_end, mib);
  EXPECT_EQ(first.table_begin, 2 * mib + 400);
  EXPECT_EQ(first.copies, 2u);
  EXPECT_EQ(second.scratch_begin, mib);
  EXPECT_EQ(second.scratch_end, 2 * mib + 400);
  EXPECT_EQ(second.table_begin, first.table_begin + 40);
  EXPECT_EQ(second.copies, 2u) << "one would reach over the first one's table";
  EXPECT_EQ(plan.costs().copies, 4u);
  EXPECT_EQ(plan.costs().launches, 2u);
}

TEST(Plan, ReadsOnceWhatSeveralDevicesNeed) {
  CatalogueBuilder builder;
  builder.shard(4096).bytes("a", 3 * mib);
  const Plan plan = make_plan(builder.build(), everything({cuda(1), host(), cuda(0)}), {});
  EXPECT_THAT(describe(*Access::data(plan)), ElementsAre("4096+3145728 staged"));
  EXPECT_THAT(Access::data(plan)->devices, ElementsAre(cuda(1), host(), cuda(0)));
  EXPECT_EQ(plan.costs().read_bytes, 3 * mib);
  EXPECT_EQ(plan.costs().delivered_bytes, 9 * mib);
  EXPECT_EQ(plan.costs().copies, 3u);
}

TEST(Plan, GathersScatteredTensorsOfAnExtentWithOneLaunch) {
  // Every second tensor of ten: five pieces are more than the copies that beat a launch.
  CatalogueBuilder builder;
  builder.shard(4096);
  for (int i = 0; i < 10; ++i) builder.bytes(fmt::format("{}.{}", i % 2 == 0 ? "even" : "odd", i), 512);
  const std::shared_ptr<const Catalogue> catalogue = builder.build();
  Request request;
  request.add("even.*");
  request.devices = {cuda(0)};
  EXPECT_EQ(make_plan(catalogue, request, {}).costs().launches, 1u);
  EXPECT_EQ(make_plan(catalogue, request, {}).costs().copies, 1u);
  request.devices = {host()};
  EXPECT_EQ(make_plan(catalogue, request, {}).costs().launches, 0u);
  EXPECT_EQ(make_plan(catalogue, request, {}).costs().copies, 5u);
}

TEST(Plan, GivesTensorsOfNoBytesAPlaceAndNoDelivery) {
  CatalogueBuilder builder;
  builder.shard(4096).tensor("empty", f32, {0, 7}).bytes("a", 100).tensor("also", bf16, {0});
  const Plan plan = make_plan(builder.build(), everything(), {});
  EXPECT_EQ(plan.tensors().size(), 3u);
  EXPECT_EQ(plan.costs().deliveries, 1u);
  EXPECT_EQ(Access::data(plan)->placements[0].deliveries, 0u);
}

TEST(Plan, OfNothingButEmptyTensorsReadsNothing) {
  CatalogueBuilder builder;
  builder.shard(4096).tensor("empty", f32, {0});
  const Plan plan = make_plan(builder.build(), everything({cuda(0)}), {});
  EXPECT_EQ(plan.costs().extents, 0u);
  EXPECT_EQ(plan.costs().staging_bytes, 0u);
  EXPECT_EQ(plan.costs().devices[0].arena_bytes, 0u);
}

TEST(Plan, OutlivesTheCatalogueThatItWasMadeFrom) {
  CatalogueBuilder builder;
  builder.shard(4096).bytes("a", 100);
  const Plan plan = make_plan(builder.build(), everything(), {});
  EXPECT_EQ(plan.tensors()[0].name, "a");
  EXPECT_GE(plan.seconds(), 0);
  EXPECT_GE(plan.cpu_seconds(), 0);
}

TEST(Plan, SaysWhichOptionIsOutOfBounds) {
  CatalogueBuilder builder;
  builder.shard(4096).bytes("a", 100);
  try {
    make_plan(builder.build(), everything(), slabs_of(limits::slab_bytes_unit + 1));
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(), HasSubstr("slab_bytes"));
  }
}

// --- sizes ---------------------------------------------------------------------------------------------------------

TEST(Plan, TakesTensorsOfAPebibyteOnEachDevice) {
  constexpr std::uint64_t pebibyte = 1ull << 50;
  CatalogueBuilder builder;
  builder.shard(4096).bytes("a", pebibyte).shard(4096).tensor("b", bf16, {pebibyte / 2});
  Options options = slabs_of(limits::slab_bytes_max);
  options.staging_bytes = 4 * limits::slab_bytes_max;
  Request request;
  request.devices = {cuda(0)};
  request.add("b").cast(f64);
  request.add("a");
  const Plan plan = make_plan(builder.build(), request, options);
  EXPECT_EQ(check_plan(*Access::data(plan)), "");
  EXPECT_EQ(plan.costs().delivered_bytes, 5 * pebibyte);
  EXPECT_EQ(plan.costs().devices[0].arena_bytes, 5 * pebibyte);
}

TEST(Plan, RefusesMoreExtentsThanItsLimit) {
  CatalogueBuilder builder;
  builder.shard(4096).bytes("not", limits::extents_max * limits::slab_bytes_unit);
  builder.shard(4096).bytes("exabytes", 1ull << 62);
  const std::shared_ptr<const Catalogue> catalogue = builder.build();
  for (const char* name : {"not", "exabytes"}) {
    Request request;
    request.add(name);
    try {
      make_plan(catalogue, request, slabs_of(limits::slab_bytes_unit));
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::limit_exceeded);
      EXPECT_THAT(error.what(), HasSubstr("slab_bytes"));
    }
  }
}

}  // namespace
}  // namespace sluice
