// Checkpoint, as Python has it: the catalogue of a checkpoint's tensors.
#pragma once

#include "loader/python/python.hpp"
#include "sluice/checkpoint.hpp"

namespace sluice::python {

PyTypeObject* make_checkpoint_type();

/// open(path, threads): a function of the module.
PyObject* open_checkpoint(PyObject* module, PyObject* arguments);

/// REQUIRES: `object` is a Checkpoint.
const Checkpoint& checkpoint_of(PyObject* object);

}  // namespace sluice::python
