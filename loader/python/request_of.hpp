// Wishes: what sluice.load() is asked for, as C++ has it, and the request that they are for a checkpoint.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "loader/python/python.hpp"
#include "sluice/checkpoint.hpp"
#include "sluice/request.hpp"

namespace sluice::python {

struct Wishes {
  /// A pattern, and how what it matches is cut: by take(), or, without that, split over the devices.
  struct Cut {
    std::string pattern;
    std::optional<Slice> take;
    unsigned dimension = 0;
    std::uint64_t parts = 0;
  };

  std::vector<DeviceId> devices;
  std::optional<Dtype> dtype;
  std::optional<std::vector<std::string>> selects;  // none: everything
  std::vector<Cut> cuts;
  std::optional<std::string> rules_text;
  std::optional<std::string> rules_path;
  std::map<std::string, std::int64_t> values;
  std::uint64_t budget_bytes = 0;  // 0: none
};

/// Of a tuple: devices, dtype, selects, cuts, rules_text, rules_path, values, budget; None where there is none. A cut
/// is (pattern, "split", dimension, parts), (pattern, "part", dimension, index, parts) or (pattern, "take",
/// [(dimension, begin, count)...]). REQUIRES: the GIL. Throws PythonError, Error{invalid_argument}.
Wishes wishes_of(PyObject* tuple);

/// Throws Error{tensor_not_found} for a pattern that matches nothing; what read_rules() throws. No GIL is needed.
Request request_of(const Wishes& wishes, const Checkpoint& checkpoint);

}  // namespace sluice::python
