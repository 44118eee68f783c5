// Dtypes, devices and options of sluice.h: their numbers and names.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "loader/c/border.hpp"
#include "loader/c/handles.hpp"
#include "loader/c/values.hpp"
#include "sluice/sluice.h"

using namespace sluice::border;

// All names are literals, which a zero ends.

const char* sluice_dtype_name(std::uint32_t dtype) {
  const auto known = known_dtype(dtype);
  return known ? sluice::name(*known).data() : nullptr;
}
int sluice_dtype_parse(sluice_string name, std::uint32_t* dtype, sluice_error** error) {
  return run(error, [&] {
    const auto known = sluice::parse_dtype(string(name, "name"));
    if (!known) refuse("name", "is no dtype's: they are spelled as safetensors does, \"BF16\"");
    required(dtype, "dtype") = static_cast<std::uint32_t>(*known);
  });
}
std::uint32_t sluice_dtype_bits(std::uint32_t dtype) {
  const auto known = known_dtype(dtype);
  return known ? sluice::bits(*known) : 0;
}
std::uint32_t sluice_dtype_alignment(std::uint32_t dtype) {
  const auto known = known_dtype(dtype);
  return known ? sluice::natural_alignment(*known) : 0;
}
int sluice_dtype_is_castable(std::uint32_t dtype) {
  const auto known = known_dtype(dtype);
  return known && sluice::is_castable(*known) ? 1 : 0;
}

int sluice_device_name(sluice_device device, sluice_text** name, sluice_error** error) {
  return make(name, "name", error,
              [&] { return std::make_unique<sluice_text>(sluice_text{sluice::name(device_of(device))}); });
}
int sluice_parse_devices(sluice_string list, sluice_device* devices, std::size_t capacity, std::size_t* count,
                         sluice_error** error) {
  return run(error, [&] {
    check_list(devices, capacity, SIZE_MAX, "devices");
    const auto known = sluice::parse_devices(string(list, "list"));
    required(count, "count") = known.size();
    std::transform(known.begin(), known.begin() + static_cast<std::ptrdiff_t>(std::min(known.size(), capacity)),
                   devices, [](sluice::DeviceId device) { return device_of(device); });
  });
}

int sluice_resolve(const sluice_options* options, sluice_options* resolved, sluice_error** error) {
  return run(error, [&] { give(options_of(sluice::resolve(options_of(options))), resolved, "resolved"); });
}
const char* sluice_io_name(std::uint32_t io) {
  return io > SLUICE_IO_BUFFERED ? nullptr : sluice::name(static_cast<sluice::IoMode>(io)).data();
}
const char* sluice_reader_name(std::uint32_t reader) {
  return reader > SLUICE_READER_NULL ? nullptr : sluice::name(static_cast<sluice::ReaderKind>(reader)).data();
}
