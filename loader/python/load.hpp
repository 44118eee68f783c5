// Load, as Python has it, and the iterators of its tensors in order of arrival.
#pragma once

#include "loader/python/python.hpp"

namespace sluice::python {

PyTypeObject* make_load_type();
PyTypeObject* make_arrivals_type();

/// start(checkpoint, wishes): a function of the module.
PyObject* start_load(PyObject* module, PyObject* arguments);
/// prepare(devices): likewise.
PyObject* prepare_devices(PyObject* module, PyObject* arguments);

}  // namespace sluice::python
