#include "loader/format/name_table.hpp"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <vector>

namespace sluice {
namespace {

// How far ahead of its use a slot is fetched: by then memory has answered.
constexpr std::size_t prefetch_distance = 16;
constexpr std::size_t slots_min = 16;

using Secret = std::array<std::uint64_t, 3>;

const Secret& secret() noexcept {
  static const Secret value = [] {
    // Odd numbers with as many ones as zeros: what remains where the system gives no random ones.
    Secret random = {0x9E3779B97F4A7C15, 0xD1B54A32D192ED03, 0x8CB92BA72F3D8DD7};
    [[maybe_unused]] const ssize_t got = getrandom(random.data(), sizeof random, GRND_NONBLOCK);
    return random;
  }();
  return value;
}

std::uint64_t load(const char* from) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, from, sizeof word);
  return word;
}

// Both halves of the product, so that every bit of it depends on every bit of both.
std::uint64_t fold(std::uint64_t a, std::uint64_t b) noexcept {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

}  // namespace

std::uint64_t NameTable::hash(std::string_view name) noexcept {
  constexpr std::size_t step = 2 * sizeof(std::uint64_t);
  const auto& [first, second, third] = secret();
  std::uint64_t hash = first ^ name.size();
  const char* at = name.data();
  std::size_t rest = name.size();
  for (; rest > step; rest -= step, at += step) {
    hash = fold(load(at) ^ second, load(at + sizeof(std::uint64_t)) ^ hash);
  }
  std::array<char, step> tail{};
  if (name.size() >= step) {
    at = name.data() + name.size() - step;  // some of it a second time: quicker than a copy of any length
    rest = step;
  }
  if (rest != 0) std::memcpy(tail.data(), at, rest);
  hash = fold(load(tail.data()) ^ second, load(tail.data() + sizeof(std::uint64_t)) ^ hash);
  return fold(hash ^ third, second);
}

std::optional<std::uint32_t> NameTable::enter(std::span<const TensorInfo> tensors,
                                              std::span<const std::uint64_t> hashes) {
  const std::size_t count = std::bit_ceil(std::max(tensors.size() * 2, slots_min));
  slots_.assign(count, Slot());
  shift_ = 64 - static_cast<unsigned>(std::countr_zero(count));
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (i + prefetch_distance < hashes.size()) prefetch(hashes[i + prefetch_distance]);
    Slot& slot = slots_[slot_of(tensors, tensors[i].name, hashes[i])];
    if (slot.number != 0) return static_cast<std::uint32_t>(i);
    slot = {static_cast<std::uint32_t>(hashes[i]), static_cast<std::uint32_t>(i) + 1};
  }
  return std::nullopt;
}

std::optional<std::uint32_t> NameTable::enter(std::span<const TensorInfo> tensors) {
  std::vector<std::uint64_t> hashes(tensors.size());
  std::ranges::transform(tensors, hashes.begin(), [](const TensorInfo& tensor) { return hash(tensor.name); });
  return enter(tensors, hashes);
}

std::optional<std::uint32_t> NameTable::find(std::span<const TensorInfo> tensors, std::string_view name,
                                             std::uint64_t hash) const noexcept {
  if (slots_.empty()) return std::nullopt;
  const std::uint32_t number = slots_[slot_of(tensors, name, hash)].number;
  if (number == 0) return std::nullopt;
  return number - 1;
}

std::size_t NameTable::slot_of(std::span<const TensorInfo> tensors, std::string_view name,
                               std::uint64_t hash) const noexcept {
  const auto tag = static_cast<std::uint32_t>(hash);
  for (std::size_t at = hash >> shift_;; at = (at + 1) & (slots_.size() - 1)) {
    const Slot& slot = slots_[at];
    if (slot.number == 0 || (slot.tag == tag && tensors[slot.number - 1].name == name)) return at;
  }
}

}  // namespace sluice
