#include "cuda/kernel_image.hpp"

#if defined(SLUICE_KERNEL_FOLDER)  // cuda/kernel.cmake defines it, where it has found nvcc

// The assembler takes the files as they are: quicker than an array in C++, and no tool beside the compiler is needed.
// Global symbols, hidden by the declarations below: link-time optimisation may separate them from their use.
// clang-format off
asm(".pushsection .rodata.sluice_kernel, \"a\"\n"
    ".globl sluice_kernel_fatbinary_begin, sluice_kernel_fatbinary_end, sluice_kernel_ptx_begin, sluice_kernel_ptx_end\n"
    ".balign 64\n"
    "sluice_kernel_fatbinary_begin:\n"
    ".incbin \"" SLUICE_KERNEL_FOLDER "/deliver.fatbin\"\n"
    "sluice_kernel_fatbinary_end:\n"
    ".balign 64\n"
    "sluice_kernel_ptx_begin:\n"
    ".incbin \"" SLUICE_KERNEL_FOLDER "/deliver_for_old_drivers.ptx\"\n"
    "sluice_kernel_ptx_end:\n"
    ".byte 0\n"
    ".popsection\n");
// clang-format on

extern "C" {
[[gnu::visibility("hidden")]] extern const std::byte sluice_kernel_fatbinary_begin[];
[[gnu::visibility("hidden")]] extern const std::byte sluice_kernel_fatbinary_end[];
[[gnu::visibility("hidden")]] extern const std::byte sluice_kernel_ptx_begin[];
[[gnu::visibility("hidden")]] extern const std::byte sluice_kernel_ptx_end[];
}

namespace sluice {

std::span<const std::byte> kernel_fatbinary() noexcept {
  return {sluice_kernel_fatbinary_begin, sluice_kernel_fatbinary_end};
}

std::span<const std::byte> kernel_ptx_for_old_drivers() noexcept {
  return {sluice_kernel_ptx_begin, sluice_kernel_ptx_end};
}

}  // namespace sluice

#else

namespace sluice {

std::span<const std::byte> kernel_fatbinary() noexcept {
  return {};
}

std::span<const std::byte> kernel_ptx_for_old_drivers() noexcept {
  return {};
}

}  // namespace sluice

#endif
