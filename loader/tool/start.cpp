#include "loader/tool/start.hpp"

#include <fmt/format.h>
#include <simdjson.h>

#include <stdexcept>

namespace sluice::tool {

namespace {

using JsonObject = simdjson::ondemand::object;

double number_in(JsonObject& object, std::string_view key) {
  return object.find_field_unordered(key).get_double();
}

std::uint64_t bytes_in(JsonObject& object, std::string_view key) {
  return object.find_field_unordered(key).get_uint64();
}

std::string text_in(JsonObject& object, std::string_view key) {
  const std::string_view text = object.find_field_unordered(key).get_string();
  return std::string(text);
}

/// Calls `read` with the object. Another version of the tool may have taken this one's place between two starts.
template <typename Read>
void read_object(std::string_view json, Read read) {
  try {
    const simdjson::padded_string text(json);
    simdjson::ondemand::parser parser;
    simdjson::ondemand::document document = parser.iterate(text);
    read(document);
  } catch (const simdjson::simdjson_error& error) {
    throw std::runtime_error(fmt::format(
        "what a process that measures printed is not understood: {}; run one version of sluice alone", error.what()));
  }
}

}  // namespace

Start parse_start(std::string_view json) {
  Start start;
  read_object(json, [&](simdjson::ondemand::document& document) {
    JsonObject stats = document["stats"].get_object();
    start.seconds = number_in(stats, "seconds");
    start.cpu_seconds = number_in(stats, "cpu_seconds");
    start.bytes = bytes_in(stats, "bytes");
    start.delivered_bytes = bytes_in(stats, "delivered_bytes");
    start.direct_bytes = bytes_in(stats, "direct_bytes");
    start.peak_resident_bytes = bytes_in(stats, "peak_resident_bytes");
    start.peak_staging_bytes = bytes_in(stats, "peak_staging_bytes");
    start.reader = text_in(stats, "reader");
    start.io = text_in(stats, "io");
    JsonObject phases = stats.find_field_unordered("phases").get_object();
    start.open_seconds = number_in(phases, "open");
    start.plan_seconds = number_in(phases, "plan");
    start.start_up_seconds = number_in(phases, "start-up");
    start.load_seconds = number_in(phases, "load");
  });
  return start;
}

LinkSample parse_link_sample(std::string_view json) {
  LinkSample sample;
  read_object(json, [&](simdjson::ondemand::document& document) {
    sample.driver_seconds = document["driver_seconds"].get_double();
    for (simdjson::ondemand::value value : document["devices"].get_array()) {
      JsonObject device = value.get_object();
      sample.devices.push_back(
          {text_in(device, "device"), text_in(device, "description"), number_in(device, "bytes_per_second")});
    }
  });
  return sample;
}

}  // namespace sluice::tool
