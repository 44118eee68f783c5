// Rules files: a request as a text that people write, with variables, loops and conditions; docs/rules.md has the
// language. Reading one works all of it out: what comes back is a plain Request. The functions keep nothing, and may be
// called from any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "sluice/checkpoint.hpp"
#include "sluice/device.hpp"
#include "sluice/export.hpp"
#include "sluice/request.hpp"

namespace sluice {

/// What a rules file is worked out with.
struct RulesOptions {
  /// Variables by name. They take precedence over what the file itself says of that name. A name that the file does not
  /// have is refused.
  std::map<std::string, std::int64_t> values;
  /// The file is worked out once per device: what names no device of its own goes there. Where `values` has neither
  /// `world` nor `rank`, `world` is the number of devices, and `rank` the place of each, from 0 on.
  std::vector<DeviceId> devices = {host()};
};

/// The request of the rules file at `path` for `checkpoint`. Reads that file, and those beside the checkpoint that it
/// names with `use`; nothing of either is kept. Throws Error{bad_rules} with line and column for what the file must not
/// say, or what does not work out with its variables; Error{tensor_not_found} likewise for a rule that matches nothing;
/// Error{not_found, io} for a file that cannot be read, Error{limit_exceeded}, and Error{invalid_argument} for
/// `options`. Whether slices fit their tensors, and fill destinations, make_plan() sees: its errors name file, line and
/// column, too.
SLUICE_API Request read_rules(const std::filesystem::path& path, const Checkpoint& checkpoint,
                              const RulesOptions& options = {});

/// The same of a text. Messages call it `name`.
SLUICE_API Request parse_rules(std::string_view text, const Checkpoint& checkpoint, const RulesOptions& options = {},
                               const std::string& name = "rules");

/// `request` as a rules file, with a number in place of every variable and a line per copy: read_rules() makes a
/// request of it that fills the same tensors with the same elements of `checkpoint`. Memory and strides of
/// destinations, and Request::alignment_bytes, are the caller's, and are not written. Throws what check() finds.
SLUICE_API std::string write_rules(const Checkpoint& checkpoint, const Request& request);

}  // namespace sluice
