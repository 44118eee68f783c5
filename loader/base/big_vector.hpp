// BigVector: a std::vector that lies in huge pages once it is long. Its resize() leaves new elements uninitialised
// where their type allows that. Catalogues and plans have millions of elements that are written once: with pages of 4
// KiB a third of that time would go into page faults.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "loader/base/alignment.hpp"
#include "loader/base/memory.hpp"

namespace sluice {

template <typename T>
struct HugePageAllocator {
  using value_type = T;

  HugePageAllocator() = default;
  template <typename U>
  explicit(false) HugePageAllocator(const HugePageAllocator<U>& /*other*/) noexcept {}

  T* allocate(std::size_t count) {
    if (!is_huge(count)) return std::allocator<T>().allocate(count);
    // The last page is a huge one where it is at least half full: that takes at most a megabyte, and saves 256 faults.
    const std::size_t bytes = count * sizeof(T);
    const std::size_t huge = align_down(bytes + huge_page_bytes / 2, huge_page_bytes);
    void* const memory = ::operator new (std::max(bytes, huge), std::align_val_t{huge_page_bytes});
    madvise(memory, huge, MADV_HUGEPAGE);  // a refusal only costs time
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, std::size_t count) noexcept {
    if (!is_huge(count)) return std::allocator<T>().deallocate(memory, count);
    ::operator delete (memory, std::align_val_t{huge_page_bytes});
  }

  template <typename U>
  void construct(U* element) noexcept(std::is_nothrow_default_constructible_v<U>) {
    ::new (static_cast<void*>(element)) U;
  }
  template <typename U, typename... Arguments>
  void construct(U* element, Arguments&&... arguments) {
    ::new (static_cast<void*>(element)) U(std::forward<Arguments>(arguments)...);
  }

  bool operator==(const HugePageAllocator& /*other*/) const noexcept { return true; }

 private:
  static bool is_huge(std::size_t count) noexcept { return count >= huge_page_bytes / sizeof(T); }
};

template <typename T>
using BigVector = std::vector<T, HugePageAllocator<T>>;

}  // namespace sluice
