// Goal: every cast from F32 is right for each of the 2^32 floats.
// Method: cast all bit patterns from 0 to 2^32 - 1 in order, hash the results, compare with the hashes of what PyTorch
// 2.15 gives. PyTorch's NaNs in F16 and BF16 differ between processors, so each NaN stands there as 0x7e00 or 0x7fc0;
// that ours are such NaNs is checked first. F64 is compared with the processor's own conversion, and cast back.
// Run by hand, in an optimised build: it takes a minute.
#include <fmt/format.h>
#include <openssl/evp.h>

#include <bit>
#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "loader/device/array_cast.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t floats = std::uint64_t{1} << 32;
constexpr std::size_t block = std::size_t{1} << 16;

class Sha256 {
 public:
  Sha256() { check(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1); }
  void add(const void* bytes, std::size_t count) { check(EVP_DigestUpdate(context_.get(), bytes, count) == 1); }
  std::string finish() {
    std::vector<unsigned char> digest(32);
    check(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) == 1);
    std::string hex;
    for (const unsigned char byte : digest) hex += fmt::format("{:02x}", byte);
    return hex;
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  static void check(bool done) {
    if (!done) throw std::runtime_error("OpenSSL refuses sha256");
  }
  std::unique_ptr<EVP_MD_CTX, Free> context_{EVP_MD_CTX_new()};
};

// Calls use(block of consecutive bit patterns) for all floats.
template <typename Use>
void for_each_block(Use use) {
  std::vector<std::uint32_t> source(block);
  for (std::uint64_t first = 0; first < floats; first += block) {
    for (std::size_t i = 0; i < block; ++i) source[i] = static_cast<std::uint32_t>(first + i);
    use(source);
  }
}

bool is_nan(std::uint32_t f32_bits) {
  return (f32_bits & 0x7fffffff) > 0x7f800000;
}

// Replaces every NaN of a 16-bit format by `nan`, having checked that it is that, or that with a sign.
void drop_signs_of_nans(const std::vector<std::uint32_t>& source, std::vector<std::uint16_t>& target,
                        std::uint16_t nan) {
  for (std::size_t i = 0; i < block; ++i) {
    if (!is_nan(source[i])) continue;
    if (target[i] != (nan | (source[i] >> 16 & 0x8000))) {
      throw std::runtime_error(fmt::format("{:#010x} became {:#06x}", source[i], target[i]));
    }
    target[i] = nan;
  }
}

template <typename Bits>
std::string hash_of_all(Dtype to, std::uint16_t nan) {
  Sha256 hash;
  std::vector<Bits> target(block);
  for_each_block([&](const std::vector<std::uint32_t>& source) {
    cast_elements(f32, source.data(), to, target.data(), block);
    if constexpr (sizeof(Bits) == 2) drop_signs_of_nans(source, target, nan);
    hash.add(target.data(), block * sizeof(Bits));
  });
  return hash.finish();
}

std::string f64_there_and_back() {
  std::vector<std::uint64_t> wide(block);
  std::vector<std::uint32_t> back(block);
  std::uint64_t differences = 0;
  for_each_block([&](const std::vector<std::uint32_t>& source) {
    cast_elements(f32, source.data(), f64, wide.data(), block);
    cast_elements(f64, wide.data(), f32, back.data(), block);
    for (std::size_t i = 0; i < block; ++i) {
      const std::uint64_t sign = source[i] & 0x80000000;
      const auto value = static_cast<double>(std::bit_cast<float>(source[i]));
      const bool nan = is_nan(source[i]);
      const std::uint64_t expected = nan ? sign << 32 | 0x7ff8000000000000 : std::bit_cast<std::uint64_t>(value);
      const std::uint64_t expected_back = nan ? sign | 0x7fc00000 : source[i];
      differences += (wide[i] != expected ? 1 : 0) + (back[i] != expected_back ? 1 : 0);
    }
  });
  return fmt::format("{} differences", differences);
}

int sweep() {
  struct Check {
    std::string_view name;
    std::string_view expected;
    std::future<std::string> actual;
  };
  const auto run = [](auto function, auto... arguments) {
    return std::async(std::launch::async, function, arguments...);
  };
  const auto start = std::chrono::steady_clock::now();
  Check checks[] = {
      {"F16", "de348ec42e6e41f594856c0561c61eb3f899d993742fef8e14581e878547f48c",
       run(hash_of_all<std::uint16_t>, f16, std::uint16_t{0x7e00})},
      {"BF16", "7cad0241e73aae46d24638fd553c6a1459c90101d504cbca8d75938b78daabf3",
       run(hash_of_all<std::uint16_t>, bf16, std::uint16_t{0x7fc0})},
      {"F8_E4M3", "6bdacf27c183099101afefc897af4f71e23afef925d4589af5adef283441bcc8",
       run(hash_of_all<std::uint8_t>, f8_e4m3, std::uint16_t{0})},
      {"F8_E5M2", "979834627e5806152dbc4f83ce85be1faf9c94583cac7ea54c4e2ee39c282c55",
       run(hash_of_all<std::uint8_t>, f8_e5m2, std::uint16_t{0})},
      {"F64, and back", "0 differences", run(f64_there_and_back)},
  };
  int wrong = 0;
  for (Check& check : checks) {
    const std::string actual = check.actual.get();
    const bool right = actual == check.expected;
    wrong += right ? 0 : 1;
    fmt::print("F32 to {:<13} {} {}\n", check.name, actual, right ? "as it should" : "WRONG");
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  fmt::print("{} floats in {:.1f} s\n", floats, seconds.count());
  return wrong == 0 ? 0 : 1;
}

}  // namespace
}  // namespace sluice

int main() {
  try {
    return sluice::sweep();
  } catch (const std::exception& e) {
    fmt::print(stderr, "casts_sweep: {}\n", e.what());
    return 1;
  }
}
