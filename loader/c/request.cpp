// Requests of sluice.h: rules and destinations, said and asked for.
#include "sluice/request.hpp"

#include <memory>
#include <string>
#include <vector>

#include "loader/c/border.hpp"
#include "loader/c/handles.hpp"
#include "loader/c/values.hpp"
#include "sluice/sluice.h"

using namespace sluice::border;

namespace {

sluice::Slice slice_or_all(const sluice_slice* slice) {
  return slice == nullptr ? sluice::Slice() : *inner(slice);
}

}  // namespace

int sluice_request_new(sluice_request** request, sluice_error** error) {
  return make(request, "request", error, [] { return std::make_unique<sluice_request>(); });
}
int sluice_request_copy(const sluice_request* request, sluice_request** copy, sluice_error** error) {
  return make(copy, "copy", error, [&] { return std::make_unique<sluice_request>(required(request, "request")); });
}
void sluice_request_free(sluice_request* request) {
  delete request;
}

int sluice_request_set_devices(sluice_request* request, const sluice_device* devices, std::uint32_t count,
                               sluice_error** error) {
  return run(error, [&] { required(request, "request").request.devices = devices_of(devices, count); });
}
int sluice_request_set_alignment(sluice_request* request, std::uint32_t bytes, sluice_error** error) {
  return run(error, [&] { required(request, "request").request.alignment_bytes = bytes; });
}
int sluice_request_set_strict(sluice_request* request, int strict, sluice_error** error) {
  return run(error, [&] { required(request, "request").request.strict = strict != 0; });
}
int sluice_request_set_budget(sluice_request* request, std::uint64_t bytes, std::uint64_t piece_bytes,
                              sluice_error** error) {
  return run(error, [&] {
    sluice::Request& said = required(request, "request").request;
    said.budget_bytes = bytes;
    said.piece_bytes = piece_bytes;
  });
}
int sluice_request_set_text(sluice_request* request, sluice_string text, sluice_error** error) {
  return run(error, [&] { required(request, "request").request.text = std::string(string(text, "text")); });
}

int sluice_request_add(sluice_request* request, sluice_string pattern, sluice_rule** rule, sluice_error** error) {
  if (rule != nullptr) *rule = nullptr;
  return run(error, [&] {
    sluice::Rule& added = required(request, "request").request.add(std::string(string(pattern, "pattern")));
    if (rule != nullptr) *rule = outer(&added);
  });
}
int sluice_rule_cast(sluice_rule* rule, std::uint32_t dtype, sluice_error** error) {
  return run(error, [&] { required(inner(rule), "rule").cast(dtype_of(dtype)); });
}
int sluice_rule_on(sluice_rule* rule, const sluice_device* devices, std::uint32_t count, sluice_error** error) {
  return run(error, [&] { required(inner(rule), "rule").on(devices_of(devices, count)); });
}
int sluice_rule_to(sluice_rule* rule, sluice_destination* destination, const sluice_slice* from,
                   const sluice_slice* into, sluice_error** error) {
  return run(error, [&] {
    sluice::Rule& said = required(inner(rule), "rule");
    said.to(required(inner(destination), "destination"), slice_or_all(from), slice_or_all(into));
  });
}
int sluice_rule_take(sluice_rule* rule, const sluice_slice* from, sluice_error** error) {
  return run(error, [&] { required(inner(rule), "rule").take(slice_or_all(from)); });
}
int sluice_rule_split(sluice_rule* rule, std::uint32_t dimension, std::uint64_t parts, sluice_error** error) {
  return run(error, [&] { required(inner(rule), "rule").split(dimension, parts); });
}
int sluice_rule_group(sluice_rule* rule, std::uint32_t group, sluice_error** error) {
  return run(error, [&] { required(inner(rule), "rule").group({group}); });
}
int sluice_rule_skip(sluice_rule* rule, sluice_error** error) {
  return run(error, [&] { required(inner(rule), "rule").skip(); });
}
int sluice_rule_optional(sluice_rule* rule, sluice_error** error) {
  return run(error, [&] { required(inner(rule), "rule").optional(); });
}
int sluice_rule_said_at(sluice_rule* rule, std::uint32_t line, std::uint32_t column, sluice_error** error) {
  return run(error, [&] { required(inner(rule), "rule").said_at({line, column}); });
}

int sluice_request_destination(sluice_request* request, sluice_string name, const std::uint64_t* shape,
                               std::uint32_t dimensions, std::uint32_t dtype, sluice_device device,
                               sluice_destination** destination, sluice_error** error) {
  if (destination != nullptr) *destination = nullptr;
  return run(error, [&] {
    sluice::Request& to = required(request, "request").request;
    sluice_destination*& made = required(destination, "destination");
    made = outer(&to.destination(std::string(string(name, "name")), numbers_of(shape, dimensions, "shape"),
                                 dtype_of(dtype), device_of(device)));
  });
}
int sluice_destination_memory(sluice_destination* destination, void* data, std::uint64_t bytes, sluice_error** error) {
  return run(error, [&] { required(inner(destination), "destination").memory(data, bytes); });
}
int sluice_destination_strides(sluice_destination* destination, const std::uint64_t* strides, std::uint32_t dimensions,
                               sluice_error** error) {
  return run(error,
             [&] { required(inner(destination), "destination").strides(numbers_of(strides, dimensions, "strides")); });
}
int sluice_destination_zero(sluice_destination* destination, sluice_error** error) {
  return run(error, [&] { required(inner(destination), "destination").zero(); });
}
int sluice_destination_keep(sluice_destination* destination, sluice_error** error) {
  return run(error, [&] { required(inner(destination), "destination").keep(); });
}
int sluice_destination_group(sluice_destination* destination, std::uint32_t group, sluice_error** error) {
  return run(error, [&] { required(inner(destination), "destination").group({group}); });
}
int sluice_destination_said_at(sluice_destination* destination, std::uint32_t line, std::uint32_t column,
                               sluice_error** error) {
  return run(error, [&] { required(inner(destination), "destination").said_at({line, column}); });
}

int sluice_request_describe(const sluice_request* request, sluice_request_info* info, sluice_error** error) {
  return run(error, [&] {
    const sluice::Request& said = required(request, "request").request;
    auto known = SLUICE_INIT(sluice_request_info);
    known.devices = static_cast<std::uint32_t>(said.devices.size());
    known.alignment_bytes = said.alignment_bytes;
    known.is_strict = said.strict ? 1 : 0;
    known.rules = said.rules().size();
    known.destinations = said.destinations().size();
    known.budget_bytes = said.budget_bytes;
    known.piece_bytes = said.piece_bytes;
    known.text = string(said.text);
    give(known, info, "info");
  });
}
int sluice_request_device(const sluice_request* request, std::uint32_t index, sluice_device* device,
                          sluice_error** error) {
  return run(error, [&] {
    const auto& devices = required(request, "request").request.devices;
    check_index(index, devices.size(), "index");
    required(device, "device") = device_of(devices[index]);
  });
}
int sluice_request_rule_at(const sluice_request* request, std::uint64_t index, const sluice_rule** rule,
                           sluice_error** error) {
  return run(error, [&] {
    const auto& rules = required(request, "request").request.rules();
    check_index(index, rules.size(), "index");
    required(rule, "rule") = outer(&rules[index]);
  });
}
int sluice_request_destination_at(const sluice_request* request, std::uint64_t index,
                                  const sluice_destination** destination, sluice_error** error) {
  return run(error, [&] {
    const auto& destinations = required(request, "request").request.destinations();
    check_index(index, destinations.size(), "index");
    required(destination, "destination") = outer(&destinations[index]);
  });
}

int sluice_rule_describe(const sluice_rule* rule, sluice_rule_info* info, sluice_error** error) {
  return run(error, [&] {
    const sluice::Rule& said = required(inner(rule), "rule");
    auto known = SLUICE_INIT(sluice_rule_info);
    known.devices = static_cast<std::uint32_t>(said.devices().size());
    known.pattern = string(said.pattern());
    known.is_cast = said.cast() ? 1 : 0;
    known.dtype = said.cast() ? static_cast<std::uint32_t>(*said.cast()) : 0;
    if (const auto split = said.split()) {
      known.is_split = 1;
      known.split_dimension = split->dimension;
      known.split_parts = split->parts;
    }
    known.targets = static_cast<std::uint32_t>(said.targets().size());
    known.group = said.group().number;
    known.taken = outer(said.taken());
    known.is_skip = said.is_skip() ? 1 : 0;
    known.is_optional = said.is_optional() ? 1 : 0;
    known.line = said.said_at().line;
    known.column = said.said_at().column;
    give(known, info, "info");
  });
}
int sluice_rule_device(const sluice_rule* rule, std::uint32_t index, sluice_device* device, sluice_error** error) {
  return run(error, [&] {
    const auto& devices = required(inner(rule), "rule").devices();
    check_index(index, devices.size(), "index");
    required(device, "device") = device_of(devices[index]);
  });
}
int sluice_rule_target(const sluice_rule* rule, std::uint32_t index, sluice_target* target, sluice_error** error) {
  return run(error, [&] {
    const auto& targets = required(inner(rule), "rule").targets();
    check_index(index, targets.size(), "index");
    const sluice::Rule::Target& said = targets[index];
    auto known = SLUICE_INIT(sluice_target);
    known.line = said.said_at.line;
    known.column = said.said_at.column;
    known.destination = outer(said.destination);
    known.from = outer(&said.from);
    known.into = outer(&said.into);
    give(known, target, "target");
  });
}
int sluice_destination_describe(const sluice_destination* destination, sluice_destination_info* info,
                                sluice_error** error) {
  return run(error, [&] {
    const sluice::Destination& said = required(inner(destination), "destination");
    auto known = SLUICE_INIT(sluice_destination_info);
    known.dtype = static_cast<std::uint32_t>(said.dtype());
    known.name = string(said.name());
    known.shape = said.shape().data();
    known.strides = said.has_strides() ? said.strides().data() : nullptr;
    known.dimensions = static_cast<std::uint32_t>(said.shape().size());
    known.stride_dimensions = static_cast<std::uint32_t>(said.strides().size());
    known.device = device_of(said.device());
    known.has_memory = said.has_memory() ? 1 : 0;
    known.unwritten = static_cast<std::uint32_t>(said.unwritten());
    known.data = said.data();
    known.bytes = said.memory_bytes();
    known.group = said.group().number;
    known.line = said.said_at().line;
    known.column = said.said_at().column;
    give(known, info, "info");
  });
}
