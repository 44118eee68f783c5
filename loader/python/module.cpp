// The extension module sluice._sluice: the C++ API for the Python of loader/python/sluice, which is what people call.
#include "loader/python/checkpoint.hpp"
#include "loader/python/load.hpp"
#include "loader/python/own_engine.hpp"
#include "loader/python/python.hpp"
#include "loader/python/records.hpp"
#include "loader/python/state.hpp"
#include "loader/python/tensor.hpp"
#include "loader/rules/exact_pattern.hpp"
#include "sluice/error.hpp"

namespace sluice::python {
namespace {

PyObject* set_error_maker(PyObject*, PyObject* maker) {
  Py_INCREF(maker);
  Py_XDECREF(std::exchange(state().make_error, maker));
  Py_INCREF(Py_None);
  return Py_None;
}

template <typename Kind>
Kind kind_of(const char* wanted, std::initializer_list<Kind> kinds) {
  for (const Kind kind : kinds) {
    if (name(kind) == wanted) return kind;
  }
  throw Error(ErrorCode::invalid_argument, std::string("there is no such choice: ") + wanted);
}

/// configure(io, reader, staging_bytes, slab_bytes, queue_depth, threads)
PyObject* configure(PyObject*, PyObject* arguments) {
  return guarded([&] {
    Options options;
    const char* io = nullptr;
    const char* reader = nullptr;
    PyObject* staging = nullptr;
    PyObject* slab = nullptr;
    PyObject* depth = nullptr;
    PyObject* threads = nullptr;
    if (PyArg_ParseTuple(arguments, "ssOOOO:configure", &io, &reader, &staging, &slab, &depth, &threads) == 0) {
      throw PythonError();
    }
    options.io = kind_of(io, {IoMode::automatic, IoMode::direct, IoMode::buffered});
    options.reader = kind_of(reader, {ReaderKind::automatic, ReaderKind::uring, ReaderKind::pread, ReaderKind::null});
    if (const std::uint64_t bytes = number_of(staging); bytes != 0) options.staging_bytes = bytes;
    options.slab_bytes = number_of(slab);
    options.queue_depth = number32_of(depth);
    options.threads = number32_of(threads);
    OwnEngine::configure(options);
    return none();
  });
}

/// end(): when the interpreter ends.
PyObject* end(PyObject*, PyObject*) {
  return guarded([&] {
    auto running = OwnEngine::give_up();
    without_gil([&] {
      for (const auto& engine : running) engine->end();
      running.clear();
    });
    return none();
  });
}

/// exact_pattern(name): what select and slices take for the tensor of that name alone.
PyObject* exact_pattern(PyObject*, PyObject* name) {
  return guarded([&] { return text(rules::exact_pattern(string_of(name))); });
}

void add(PyObject* module, const char* name, PyTypeObject* type) {
  check(PyModule_AddObjectRef(module, name, reinterpret_cast<PyObject*>(type)));
}

/// One engine, and one set of types, serve the process: only the main interpreter's Python may have them.
void check_interpreter() {
  const char* refusal = nullptr;
  if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) {
    refusal = "sluice serves the main interpreter only: load there, or in another process";
  } else if (OwnEngine::was_given_up()) {
    refusal = "the interpreter that sluice served has ended: load in another process";
  }
  if (refusal == nullptr) return;
  PyErr_SetString(PyExc_ImportError, refusal);
  throw PythonError();
}

int fill_module(PyObject* module) {
  try {
    check_interpreter();
    State& its = state();
    if (its.tensor == nullptr) {
      its.checkpoint = make_checkpoint_type();
      its.load = make_load_type();
      its.arrivals = make_arrivals_type();
      its.tensor = make_tensor_type();
      make_record_types();
    }
    add(module, "Checkpoint", its.checkpoint);
    add(module, "Load", its.load);
    add(module, "Tensor", its.tensor);
    add(module, "TensorInfo", its.tensor_info);
    add(module, "Shard", its.shard);
    add(module, "Progress", its.progress);
    check(PyModule_AddStringConstant(module, "version", SLUICE_VERSION));
    return 0;
  } catch (const std::exception& error) {
    raise(error);
    return -1;
  }
}

PyObject* make_module() {
  static PyMethodDef functions[] = {{"open", open_checkpoint, METH_VARARGS, "open(path, threads): a Checkpoint."},
                                    {"prepare", prepare_devices, METH_O, "Starts the drivers of devices."},
                                    {"start", start_load, METH_VARARGS, "start(checkpoint, wishes): a Load."},
                                    {"configure", configure, METH_VARARGS, "The options of later loads."},
                                    {"exact_pattern", exact_pattern, METH_O, "The pattern of one name alone."},
                                    {"set_error_maker", set_error_maker, METH_O, "Who makes exceptions."},
                                    {"end", end, METH_NOARGS, "Cancels and drains all loads, for good."},
                                    {}};
  static PyModuleDef_Slot slots[] = {{Py_mod_exec, reinterpret_cast<void*>(fill_module)}, {}};
  static PyModuleDef definition{PyModuleDef_HEAD_INIT,
                                "sluice._sluice",
                                "The C++ side of sluice.",
                                0,
                                functions,
                                slots,
                                nullptr,
                                nullptr,
                                nullptr};
  return PyModuleDef_Init(&definition);
}

}  // namespace

State& state() noexcept {
  static State state;
  return state;
}

PyTypeObject* make_type(PyType_Spec& spec) {
  PyObject* const type = PyType_FromSpec(&spec);
  if (type == nullptr) throw PythonError();
  return reinterpret_cast<PyTypeObject*>(type);
}

void free_instance(PyObject* self) noexcept {
  PyTypeObject* const type = Py_TYPE(self);
  reinterpret_cast<freefunc>(PyType_GetSlot(type, Py_tp_free))(self);
  Py_DECREF(reinterpret_cast<PyObject*>(type));
}

}  // namespace sluice::python

// Python looks for this name.
#ifdef __clang__
#pragma clang diagnostic ignored "-Wreserved-identifier"
#endif
PyMODINIT_FUNC PyInit__sluice() {  // NOLINT(readability-identifier-naming)
  return sluice::python::make_module();
}
