#include "loader/python/request_of.hpp"

#include <string_view>
#include <utility>

#include "loader/plan/selection.hpp"
#include "loader/rules/exact_pattern.hpp"
#include "loader/rules/first_matches.hpp"
#include "sluice/error.hpp"
#include "sluice/rules.hpp"

namespace sluice::python {
namespace {

PyObject* item(PyObject* tuple, Py_ssize_t index) {
  PyObject* const its = PyTuple_GetItem(tuple, index);
  if (its == nullptr) throw PythonError();
  return its;
}

unsigned dimension_of(PyObject* object) {
  const std::uint64_t dimension = number_of(object);
  if (dimension > UINT32_MAX) throw Error(ErrorCode::invalid_argument, "no tensor has so many dimensions");
  return static_cast<unsigned>(dimension);
}

/// Of one that takes indices of some dimensions.
Slice slice_of(PyObject* list) {
  Slice slice;
  const Py_ssize_t count = PyList_Size(list);
  if (count < 0) throw PythonError();
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* const range = PyList_GetItem(list, i);
    slice.take(dimension_of(item(range, 0)), number_of(item(range, 1)),
               item(range, 2) == Py_None ? Slice::rest : number_of(item(range, 2)));
  }
  return slice;
}

Wishes::Cut cut_of(PyObject* tuple) {
  Wishes::Cut cut;
  cut.pattern = string_of(item(tuple, 0));
  const std::string kind = string_of(item(tuple, 1));
  if (kind == "take") {
    cut.take = slice_of(item(tuple, 2));
    return cut;
  }
  cut.dimension = dimension_of(item(tuple, 2));
  if (kind == "part") {
    cut.take = part(cut.dimension, number_of(item(tuple, 3)), number_of(item(tuple, 4)));
  } else {
    cut.parts = number_of(item(tuple, 3));
  }
  return cut;
}

Dtype dtype_of(const std::string& name) {
  if (const auto dtype = parse_dtype(name)) return *dtype;
  throw Error(ErrorCode::invalid_argument, "no dtype is called " + name, {}, "spell it as safetensors does: \"BF16\"");
}

std::map<std::string, std::int64_t> values_of(PyObject* dictionary) {
  std::map<std::string, std::int64_t> values;
  PyObject* key = nullptr;
  PyObject* value = nullptr;
  Py_ssize_t at = 0;
  while (PyDict_Next(dictionary, &at, &key, &value) != 0) {
    const long long number = PyLong_AsLongLong(value);
    if (number == -1 && PyErr_Occurred() != nullptr) throw PythonError();
    values.emplace(string_of(key), number);
  }
  return values;
}

void apply(Rule& rule, const Wishes::Cut& cut) {
  if (cut.take) {
    rule.take(*cut.take);
  } else {
    rule.split(cut.dimension, cut.parts);
  }
}

Request of_rules(const Wishes& wishes, const Checkpoint& checkpoint) {
  const RulesOptions options{wishes.values, wishes.devices};
  return wishes.rules_path ? read_rules(*wishes.rules_path, checkpoint, options)
                           : parse_rules(*wishes.rules_text, checkpoint, options);
}

Request tensors_of(const Wishes& wishes, const Checkpoint& checkpoint) {
  if (wishes.rules_text || wishes.rules_path) return of_rules(wishes, checkpoint);
  Request request;
  request.devices = wishes.devices;
  const auto add = [&](std::string pattern) -> Rule& {
    Rule& rule = request.add(std::move(pattern)).optional();
    if (wishes.dtype) rule.cast(*wishes.dtype);
    return rule;
  };
  if (!wishes.selects && wishes.cuts.empty()) {
    add("*");  // a checkpoint without tensors is loaded as such
    return request;
  }
  std::vector<std::string> cut_patterns;
  for (const Wishes::Cut& cut : wishes.cuts) cut_patterns.push_back(cut.pattern);
  const std::vector<std::uint32_t> cuts = rules::first_matches(checkpoint, cut_patterns);
  const std::vector<std::uint32_t> selects =
      rules::first_matches(checkpoint, wishes.selects.value_or(std::vector<std::string>{"*"}));
  for (std::size_t i = 0; i < selects.size(); ++i) {
    if (selects[i] == Selection::none) continue;
    Rule& rule = add(rules::exact_pattern(checkpoint.tensors()[i].name));
    if (cuts[i] != Selection::none) apply(rule, wishes.cuts[cuts[i]]);
  }
  if (request.rules().empty()) request.add("*").skip().optional();  // nothing is what was asked for
  return request;
}

}  // namespace

Wishes wishes_of(PyObject* tuple) {
  Wishes wishes;
  wishes.devices = parse_devices(string_of(item(tuple, 0)));
  if (item(tuple, 1) != Py_None) wishes.dtype = dtype_of(string_of(item(tuple, 1)));
  if (item(tuple, 2) != Py_None) wishes.selects = strings_of(item(tuple, 2));
  PyObject* const cuts = item(tuple, 3);
  for (Py_ssize_t i = 0, count = PyList_Size(cuts); i < count; ++i) {
    wishes.cuts.push_back(cut_of(PyList_GetItem(cuts, i)));
  }
  if (item(tuple, 4) != Py_None) wishes.rules_text = string_of(item(tuple, 4));
  if (item(tuple, 5) != Py_None) wishes.rules_path = string_of(item(tuple, 5));
  wishes.values = values_of(item(tuple, 6));
  if (item(tuple, 7) != Py_None) wishes.budget_bytes = number_of(item(tuple, 7));
  return wishes;
}

Request request_of(const Wishes& wishes, const Checkpoint& checkpoint) {
  Request request = tensors_of(wishes, checkpoint);
  request.budget_bytes = wishes.budget_bytes;
  return request;
}

}  // namespace sluice::python
