#include "loader/tool/digest.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
// OpenSSL would rather have its EVP_ functions called. They bring everything that it can, 4 MB, into a program that is
// linked with its archive; these bring 35 KB, are as fast, and cannot fail.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <numeric>

#include "loader/base/mutex.hpp"
#include "loader/base/thread.hpp"

namespace sluice::tool {

namespace {

// Of one thread. Small enough to stay in the second-level cache between being copied and being hashed.
constexpr std::uint64_t piece_bytes = 512 * 1024;

class Sha256 {
 public:
  Sha256() noexcept { SHA256_Init(&context_); }
  void add(const std::byte* data, std::size_t bytes) noexcept { SHA256_Update(&context_, data, bytes); }
  std::string finish() {
    std::array<unsigned char, SHA256_DIGEST_LENGTH> value = {};
    SHA256_Final(value.data(), &context_);
    return fmt::format("{:02x}", fmt::join(value, ""));
  }

 private:
  SHA256_CTX context_ = {};
};

struct Work {
  const Load& load;
  std::span<const Tensor> tensors;
  std::span<const std::uint32_t> order;
  const std::atomic<bool>& stop;
  std::span<std::string> digests;
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> failed = false;
  Mutex mutex = {};
  std::exception_ptr failure SLUICE_GUARDED_BY(mutex) = nullptr;

  bool is_over() const noexcept { return stop.load() || failed.load(); }
};

std::string digest(Work& work, const Tensor& tensor, std::span<std::byte> piece) {
  Sha256 hash;
  for (std::uint64_t offset = 0; offset < tensor.bytes && !work.is_over();) {
    const std::uint64_t bytes = std::min<std::uint64_t>(piece.size(), tensor.bytes - offset);
    work.load.read_back(tensor, offset, piece.data(), bytes);
    hash.add(piece.data(), bytes);
    offset += bytes;
  }
  return hash.finish();
}

void run(Work& work) noexcept {
  try {
    std::vector<std::byte> piece(piece_bytes);
    while (!work.is_over()) {
      const std::size_t position = work.next.fetch_add(1);
      if (position >= work.order.size()) return;
      const std::uint32_t index = work.order[position];
      work.digests[index] = digest(work, work.tensors[index], piece);
    }
  } catch (...) {
    const MutexLock lock(work.mutex);
    if (!work.failure) work.failure = std::current_exception();
    work.failed = true;
  }
}

}  // namespace

std::vector<std::string> sha256_digests(const Load& load, std::span<const Tensor> tensors, unsigned threads,
                                        const std::atomic<bool>& stop) {
  // Largest first, so that no thread begins the longest piece of work when the others are done.
  std::vector<std::uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return tensors[a].bytes > tensors[b].bytes; });

  std::vector<std::string> digests(tensors.size());
  Work work{load, tensors, order, stop, digests};
  const auto helpers = static_cast<unsigned>(std::min<std::size_t>(threads, tensors.size()));
  share_out(helpers, helpers, [&work](std::size_t /*part*/) { run(work); });
  const MutexLock lock(work.mutex);
  if (work.failure) std::rethrow_exception(work.failure);
  return digests;
}

}  // namespace sluice::tool
