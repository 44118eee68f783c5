// Rules files of sluice.h.
#include "sluice/rules.hpp"

#include <memory>
#include <string>

#include "loader/c/border.hpp"
#include "loader/c/handles.hpp"
#include "loader/c/values.hpp"
#include "sluice/sluice.h"

using namespace sluice::border;

namespace {

sluice::RulesOptions rules_options_of(const sluice_rules_options* options) {
  const sluice_rules_options given = taken(options, "options");
  check_flags(given.flags);
  sluice::RulesOptions known;
  for (const sluice_variable& variable : list(given.values, given.value_count, UINT32_MAX, "values")) {
    known.values[std::string(string(variable.name, "values"))] = variable.value;
  }
  if (given.device_count != 0) known.devices = devices_of(given.devices, given.device_count);
  return known;
}

}  // namespace

int sluice_read_rules(sluice_string path, const sluice_checkpoint* checkpoint, const sluice_rules_options* options,
                      sluice_request** request, sluice_error** error) {
  return make(request, "request", error, [&] {
    return std::make_unique<sluice_request>(sluice_request{sluice::read_rules(
        sluice::border::path(path), required(checkpoint, "checkpoint").checkpoint, rules_options_of(options))});
  });
}
int sluice_parse_rules(sluice_string text, const sluice_checkpoint* checkpoint, const sluice_rules_options* options,
                       sluice_string name, sluice_request** request, sluice_error** error) {
  return make(request, "request", error, [&] {
    const std::string_view called = string(name, "name");
    return std::make_unique<sluice_request>(
        sluice_request{sluice::parse_rules(string(text, "text"), required(checkpoint, "checkpoint").checkpoint,
                                           rules_options_of(options), called.empty() ? "rules" : std::string(called))});
  });
}
int sluice_write_rules(const sluice_checkpoint* checkpoint, const sluice_request* request, sluice_text** rules,
                       sluice_error** error) {
  return make(rules, "rules", error, [&] {
    return std::make_unique<sluice_text>(sluice_text{
        sluice::write_rules(required(checkpoint, "checkpoint").checkpoint, required(request, "request").request)});
  });
}
