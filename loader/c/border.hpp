// Border: what every function of sluice.h does with what it is given, and with what goes wrong: exceptions become
// codes, NULL an Error, structs are taken and given as long as both sides know them. Pure; nothing is kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

#include "sluice/sluice.h"

namespace sluice::border {

/// Writes the exception that is being handled to *error, unless `error` is nullptr; returns its code.
int report(sluice_error** error) noexcept;

/// Runs `body`. What it throws ends here.
template <typename Body>
int run(sluice_error** error, Body&& body) noexcept {
  if (error != nullptr) *error = nullptr;
  try {
    std::forward<Body>(body)();
    return SLUICE_OK;
  } catch (...) {
    return report(error);
  }
}

[[noreturn]] void refuse(const char* what, const char* why);

/// What `pointer` points to. Throws Error{invalid_argument} for nullptr; messages call it `what`, here and below.
template <typename Object>
Object& required(Object* pointer, const char* what) {
  if (pointer == nullptr) refuse(what, "is NULL");
  return *pointer;
}

/// Writes what `make` returns, an owner, to *handle; nullptr where it throws.
template <typename Handle, typename Make>
int make(Handle** handle, const char* what, sluice_error** error, Make&& make) noexcept {
  if (handle != nullptr) *handle = nullptr;
  return run(error, [&] {
    Handle*& made = required(handle, what);
    made = std::forward<Make>(make)().release();
  });
}

/// The elements of a list. Throws Error{invalid_argument} for NULL with a count, and for more than `count_max`.
void check_list(const void* data, std::size_t count, std::size_t count_max, const char* what);
template <typename Element>
std::span<const Element> list(const Element* data, std::size_t count, std::size_t count_max, const char* what) {
  check_list(data, count, count_max, what);
  return {data, count};
}

/// Throws Error{invalid_argument} unless `index` is one of `count`.
void check_index(std::uint64_t index, std::uint64_t count, const char* what);

/// Throws Error{invalid_argument} unless `flags` is 0.
void check_flags(std::uint32_t flags);

std::string_view string(sluice_string given, const char* what);
inline sluice_string string(std::string_view ours) noexcept {
  return {ours.data(), ours.size()};
}

/// Throws Error{invalid_argument} for one with a NUL, which the system would take for its end.
std::filesystem::path path(sluice_string given);

/// The size that a struct had when it first was part of sluice.h: no caller has a shorter one. A number here never
/// changes, whatever the struct becomes.
template <typename Struct>
inline constexpr std::uint32_t first_bytes = 0;
template <>
inline constexpr std::uint32_t first_bytes<sluice_options> = 40;
template <>
inline constexpr std::uint32_t first_bytes<sluice_tensor_info> = 56;
template <>
inline constexpr std::uint32_t first_bytes<sluice_shard> = 48;
template <>
inline constexpr std::uint32_t first_bytes<sluice_checkpoint_info> = 56;
template <>
inline constexpr std::uint32_t first_bytes<sluice_slice_info> = 40;
template <>
inline constexpr std::uint32_t first_bytes<sluice_cut> = 32;
template <>
inline constexpr std::uint32_t first_bytes<sluice_request_info> = 64;
template <>
inline constexpr std::uint32_t first_bytes<sluice_rule_info> = 80;
template <>
inline constexpr std::uint32_t first_bytes<sluice_target> = 40;
template <>
inline constexpr std::uint32_t first_bytes<sluice_destination_info> = 96;
template <>
inline constexpr std::uint32_t first_bytes<sluice_rules_options> = 32;
template <>
inline constexpr std::uint32_t first_bytes<sluice_tensor> = 72;
template <>
inline constexpr std::uint32_t first_bytes<sluice_costs> = 112;
template <>
inline constexpr std::uint32_t first_bytes<sluice_device_costs> = 64;
template <>
inline constexpr std::uint32_t first_bytes<sluice_group_costs> = 32;
template <>
inline constexpr std::uint32_t first_bytes<sluice_memory> = 32;
template <>
inline constexpr std::uint32_t first_bytes<sluice_after> = 24;
template <>
inline constexpr std::uint32_t first_bytes<sluice_start_options> = 32;
template <>
inline constexpr std::uint32_t first_bytes<sluice_progress> = 40;
template <>
inline constexpr std::uint32_t first_bytes<sluice_stats> = 184;
template <>
inline constexpr std::uint32_t first_bytes<sluice_span> = 48;

/// Copies what the caller gave to `known`, of `known_bytes`; what is missing stays as it is. Throws
/// Error{invalid_argument} for a size that check_size() refuses, and for what is not 0 beyond `known_bytes`.
void take(const void* given, std::size_t first_bytes, void* known, std::size_t known_bytes, const char* what);

/// The struct that the caller gave; all zero but for its size for nullptr.
template <typename Struct>
Struct taken(const Struct* given, const char* what) {
  auto known = SLUICE_INIT(Struct);
  if (given != nullptr) take(given, first_bytes<Struct>, &known, sizeof known, what);
  return known;
}

/// Throws Error{invalid_argument} for a struct of the caller's that cannot be taken or written: nullptr, or a size
/// below `first_bytes`, of more than a page, or that no struct of 64-bit members has.
void check_size(const void* target, std::size_t first_bytes, const char* what);

/// Copies `known` behind the size of `target`, as far as that reaches, and zeros to what follows.
void give(const void* known, std::size_t known_bytes, void* target) noexcept;

/// Writes `known` to the caller's struct.
template <typename Struct>
void give(const Struct& known, Struct* target, const char* what) {
  check_size(target, first_bytes<Struct>, what);
  give(&known, sizeof known, target);
}

/// Element `index` of an array of the caller's, in which all structs are as large as the first, and say so.
template <typename Struct>
Struct* element_at(Struct* first, std::size_t index, const char* what) {
  check_size(first, first_bytes<std::remove_const_t<Struct>>, what);
  using Byte = std::conditional_t<std::is_const_v<Struct>, const std::byte, std::byte>;
  auto* const element = reinterpret_cast<Struct*>(reinterpret_cast<Byte*>(first) + index * first->size);
  if (element->size != first->size) refuse(what, "has structs of different sizes");
  return element;
}

}  // namespace sluice::border
