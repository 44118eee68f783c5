// State: what the extension has once a process: its types, and who makes its exceptions. Filled when it is imported,
// and there until the process ends. The GIL guards it.
#pragma once

#include "loader/python/python.hpp"

namespace sluice::python {

struct State {
  PyObject* make_error = nullptr;  // sluice._error.make
  PyTypeObject* checkpoint = nullptr;
  PyTypeObject* load = nullptr;
  PyTypeObject* arrivals = nullptr;
  PyTypeObject* tensor = nullptr;
  PyTypeObject* tensor_info = nullptr;
  PyTypeObject* shard = nullptr;
  PyTypeObject* progress = nullptr;
};

State& state() noexcept;

/// A type of instances that only C++ makes.
PyTypeObject* make_type(PyType_Spec& spec);

/// A new instance, whose C++ parts are not there yet.
template <typename Instance>
Instance* allocate(PyTypeObject* type) {
  auto* const made = PyType_GenericAlloc(type, 0);
  if (made == nullptr) throw PythonError();
  return reinterpret_cast<Instance*>(made);
}

/// Gives an instance's memory back once its C++ parts are gone.
void free_instance(PyObject* self) noexcept;

}  // namespace sluice::python
