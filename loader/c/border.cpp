#include "loader/c/border.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>

#include "loader/c/handles.hpp"
#include "sluice/error.hpp"

namespace sluice::border {
namespace {

// No struct of ours will ever have more: a larger size is memory that nobody has written.
constexpr std::uint32_t struct_bytes_max = 4096;
// All of them have members of 64 bits: with another size the elements of an array would lie askew.
constexpr std::uint32_t struct_bytes_unit = 8;

std::uint32_t size_of(const void* sized) noexcept {
  std::uint32_t size = 0;
  std::memcpy(&size, sized, sizeof size);
  return size;
}

void tell(sluice_error** error, const Error& what) {
  if (error != nullptr) *error = std::make_unique<sluice_error>(sluice_error{what}).release();
}

}  // namespace

int report(sluice_error** error) noexcept {
  ErrorCode code = ErrorCode::out_of_memory;
  try {
    try {
      throw;
    } catch (const Error& thrown) {
      code = thrown.code();
      tell(error, thrown);
    } catch (const std::bad_alloc&) {
      tell(error, Error(code, "the process has no more memory", {}, "free some, or load less at a time"));
    } catch (const std::exception& thrown) {
      code = ErrorCode::system;
      tell(error, Error(code, thrown.what()));
    }
  } catch (...) {
    // There is no memory for the error: its code has to do.
  }
  return static_cast<int>(code);
}

void refuse(const char* what, const char* why) {
  throw Error(ErrorCode::invalid_argument, "`" + std::string(what) + "` " + why);
}

void check_list(const void* data, std::size_t count, std::size_t count_max, const char* what) {
  if (count > count_max) refuse(what, ("has more than " + std::to_string(count_max) + " elements").c_str());
  if (count != 0) required(static_cast<const char*>(data), what);
}

void check_index(std::uint64_t index, std::uint64_t count, const char* what) {
  if (index >= count) {
    refuse(what, ("is " + std::to_string(index) + ", of " + std::to_string(count) + " from 0 on").c_str());
  }
}

void check_flags(std::uint32_t flags) {
  if (flags != 0) refuse("flags", "has bits that this version does not know");
}

std::string_view string(sluice_string given, const char* what) {
  check_list(given.data, given.bytes, PTRDIFF_MAX, what);
  return given.bytes == 0 ? std::string_view() : std::string_view(given.data, given.bytes);
}

std::filesystem::path path(sluice_string given) {
  const std::string_view text = string(given, "path");
  if (text.find('\0') != std::string_view::npos) refuse("path", "has a NUL, which no file name has");
  return {std::string(text)};
}

void check_size(const void* target, std::size_t first_bytes, const char* what) {
  const std::uint32_t size = size_of(&required(static_cast<const char*>(target), what));
  if (size < first_bytes || size > struct_bytes_max || size % struct_bytes_unit != 0) {
    refuse(what, ("has a size of " + std::to_string(size) + ": begin with SLUICE_INIT()").c_str());
  }
}

void take(const void* given, std::size_t first_bytes, void* known, std::size_t known_bytes, const char* what) {
  check_size(given, first_bytes, what);
  const std::size_t size = size_of(given);
  const auto* const bytes = static_cast<const char*>(given);
  std::memcpy(known, bytes, std::min(size, known_bytes));
  if (size > known_bytes && std::any_of(bytes + known_bytes, bytes + size, [](char byte) { return byte != 0; })) {
    refuse(what, "says what this version of the library does not know");
  }
}

void give(const void* known, std::size_t known_bytes, void* target) noexcept {
  const std::size_t size = size_of(target);
  auto* const bytes = static_cast<char*>(target);
  const std::size_t both = std::min(size, known_bytes);
  constexpr std::size_t head = sizeof(std::uint32_t);
  std::memcpy(bytes + head, static_cast<const char*>(known) + head, both - head);
  std::memset(bytes + both, 0, size - both);
}

}  // namespace sluice::border
