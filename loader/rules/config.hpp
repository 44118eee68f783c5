// Config: the whole numbers of a configuration in JSON, as config.json beside a checkpoint: what `use` gives to a rules
// file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace sluice::rules {

/// The numbers of one object by their keys; true is 1, false 0. What else it holds is left out. `keys` lead to it from
/// the outermost object in; nothing where one of them is no object. Throws Error{not_found, io}, and Error{bad_rules}
/// with the byte for what is no JSON.
std::optional<std::map<std::string, std::int64_t>> read_config(const std::filesystem::path& path,
                                                               const std::vector<std::string>& keys);

}  // namespace sluice::rules
