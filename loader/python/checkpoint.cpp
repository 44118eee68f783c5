#include "loader/python/checkpoint.hpp"

#include <new>
#include <string>

#include "loader/python/records.hpp"
#include "loader/python/state.hpp"

namespace sluice::python {
namespace {

struct PyCheckpoint {
  PyObject base;
  Checkpoint checkpoint;
};

void dealloc_checkpoint(PyObject* self) {
  reinterpret_cast<PyCheckpoint*>(self)->checkpoint.~Checkpoint();
  free_instance(self);
}

/// A list of what `make` says of each.
template <typename Items, typename Make>
PyObject* list_of_each(const Items& items, Make make) {
  return guarded([&] {
    Ref list(PyList_New(static_cast<Py_ssize_t>(items.size())));
    for (std::size_t i = 0; i < items.size(); ++i) {
      check(PyList_SetItem(list.get(), static_cast<Py_ssize_t>(i), make(items[i]).release()));
    }
    return list;
  });
}

PyObject* get_names(PyObject* self, void*) {
  return list_of_each(checkpoint_of(self).tensors(), [](const TensorInfo& info) { return text(info.name); });
}

PyObject* get_tensors(PyObject* self, void*) {
  return list_of_each(checkpoint_of(self).tensors(), [](const TensorInfo& info) { return record_of(info); });
}

PyObject* get_shards(PyObject* self, void*) {
  return list_of_each(checkpoint_of(self).shards(), [](const Shard& shard) { return record_of(shard); });
}

PyObject* get_path(PyObject* self, void*) {
  const std::string& path = checkpoint_of(self).path().native();
  return PyUnicode_DecodeFSDefaultAndSize(path.data(), static_cast<Py_ssize_t>(path.size()));
}

PyObject* get_all_bytes(PyObject* self, void*) {
  return guarded([&] { return number(checkpoint_of(self).bytes()); });
}

PyObject* find_info(PyObject* self, PyObject* name) {
  return guarded([&] {
    const TensorInfo* const info = checkpoint_of(self).find(string_of(name));
    return info == nullptr ? none() : record_of(*info);
  });
}

Py_ssize_t length(PyObject* self) {
  return static_cast<Py_ssize_t>(checkpoint_of(self).tensors().size());
}

int contains(PyObject* self, PyObject* name) {
  if (PyUnicode_Check(name) == 0) return 0;
  try {
    return checkpoint_of(self).find(string_of(name)) == nullptr ? 0 : 1;
  } catch (const std::exception& error) {
    raise(error);
    return -1;
  }
}

PyObject* repr_checkpoint(PyObject* self) {
  return guarded([&] {
    const Checkpoint& its = checkpoint_of(self);
    const Ref path(get_path(self, nullptr));
    return Ref(PyUnicode_FromFormat("<sluice.Checkpoint %R: %zu tensors, %llu bytes>", path.get(), its.tensors().size(),
                                    static_cast<unsigned long long>(its.bytes())));
  });
}

}  // namespace

const Checkpoint& checkpoint_of(PyObject* object) {
  return reinterpret_cast<PyCheckpoint*>(object)->checkpoint;
}

PyObject* open_checkpoint(PyObject*, PyObject* arguments) {
  return guarded([&] {
    PyObject* bytes = nullptr;
    PyObject* threads = nullptr;
    if (PyArg_ParseTuple(arguments, "O&O:open", PyUnicode_FSConverter, &bytes, &threads) == 0) throw PythonError();
    const std::string native(PyBytes_AsString(bytes));
    Py_DECREF(bytes);
    const std::uint32_t threads_max = number32_of(threads);
    Checkpoint opened = without_gil([&] { return Checkpoint::open(native, threads_max); });
    auto* const made = allocate<PyCheckpoint>(state().checkpoint);
    new (&made->checkpoint) Checkpoint(std::move(opened));
    return Ref(&made->base);
  });
}

PyTypeObject* make_checkpoint_type() {
  static PyGetSetDef members[] = {
      {"names", get_names, nullptr, "The tensors' names, by shard, then by offset.", nullptr},
      {"tensors", get_tensors, nullptr, "A TensorInfo of each, in the order of names.", nullptr},
      {"shards", get_shards, nullptr, "A Shard of each file.", nullptr},
      {"path", get_path, nullptr, "The path that was opened.", nullptr},
      {"nbytes", get_all_bytes, nullptr, "Bytes of all tensors together.", nullptr},
      {}};
  static PyMethodDef methods[] = {{"find", find_info, METH_O, "The TensorInfo of that name, or None."}, {}};
  static PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(dealloc_checkpoint)},
                                {Py_tp_repr, reinterpret_cast<void*>(repr_checkpoint)},
                                {Py_tp_getset, members},
                                {Py_tp_methods, methods},
                                {Py_sq_length, reinterpret_cast<void*>(length)},
                                {Py_sq_contains, reinterpret_cast<void*>(contains)},
                                {Py_tp_doc, const_cast<char*>("The catalogue of a checkpoint; no tensor data.")},
                                {}};
  static PyType_Spec spec{"sluice._sluice.Checkpoint", sizeof(PyCheckpoint), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  return make_type(spec);
}

}  // namespace sluice::python
