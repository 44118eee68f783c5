#include "loader/device/null_device.hpp"

#include <limits>

namespace sluice {
namespace {

class NullArena final : public Arena {
 public:
  std::byte* data() const noexcept override { return nullptr; }
  void populate(std::uint64_t, std::uint64_t) noexcept override {}
  void read_back(const void*, void*, std::uint64_t) const override {
    throw Error(ErrorCode::invalid_argument, "the null device keeps nothing that could be read back", {},
                "load to another device");
  }
};

class NullLane final : public Lane {
 public:
  // Done before it returns: nobody has to be woken for that.
  void deliver(const LaneWork& work) override {
    finished_.push_back({work.tag, work.part, work.part->copies, work.part->launches});
  }
  bool order(CUstream_st*, std::uint64_t) override { return false; }
  void collect(std::vector<LaneDone>& done) override {
    done.insert(done.end(), finished_.begin(), finished_.end());
    finished_.clear();
  }

 private:
  std::vector<LaneDone> finished_;
};

}  // namespace

std::uint64_t NullDevice::free_bytes() const {
  return std::numeric_limits<std::uint64_t>::max();
}

std::shared_ptr<Arena> NullDevice::allocate(std::uint64_t) {
  return std::make_shared<NullArena>();
}

std::shared_ptr<Arena> NullDevice::adopt(std::byte*) {
  return std::make_shared<NullArena>();
}

std::unique_ptr<Lane> NullDevice::open_lane(const LaneContext&) {
  return std::make_unique<NullLane>();
}

}  // namespace sluice
