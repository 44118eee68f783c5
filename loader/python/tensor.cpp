#include "loader/python/tensor.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <new>

#include "loader/c/dlpack.hpp"
#include "loader/python/buffer.hpp"
#include "loader/python/state.hpp"
#include "sluice/dtype.hpp"

namespace sluice::python {
namespace {

struct PyTensor {
  PyObject base;
  PyObject* name;
  std::shared_ptr<const Tensor> tensor;
  std::shared_ptr<Session> session;  // of a tensor that had not arrived when it was handed out
};

PyTensor& tensor_of(PyObject* self) {
  return *reinterpret_cast<PyTensor*>(self);
}

void dealloc_tensor(PyObject* self) {
  PyTensor& its = tensor_of(self);
  Py_XDECREF(its.name);
  auto tensor = std::move(its.tensor);
  auto session = std::move(its.session);
  its.tensor.~shared_ptr();
  its.session.~shared_ptr();
  free_instance(self);
  // The last one frees the memory, which takes its time, and may wait for a device.
  if (tensor.use_count() == 1 || session != nullptr) {
    PyThreadState* const thread = PyEval_SaveThread();
    tensor.reset();
    session.reset();
    PyEval_RestoreThread(thread);
  }
}

// --- DLPack ---

/// Gives back what nobody took.
template <typename Managed>
void free_capsule(PyObject* capsule, const char* name) {
  if (PyCapsule_IsValid(capsule, name) == 0) return;  // it was taken, and renamed
  auto* const managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, name));
  managed->deleter(managed);
}

constexpr const char* dlpack_name = "dltensor";
constexpr const char* versioned_name = "dltensor_versioned";

Ref make_capsule(const std::shared_ptr<const Tensor>& tensor, bool versioned) {
  void* const managed = versioned ? static_cast<void*>(make_dlpack(tensor)) : make_unversioned_dlpack(tensor);
  PyObject* const capsule =
      versioned
          ? PyCapsule_New(managed, versioned_name,
                          [](PyObject* its) { free_capsule<DLManagedTensorVersioned>(its, versioned_name); })
          : PyCapsule_New(managed, dlpack_name, [](PyObject* its) { free_capsule<DLManagedTensor>(its, dlpack_name); });
  if (capsule == nullptr && versioned) {
    auto* const its = static_cast<DLManagedTensorVersioned*>(managed);
    its->deleter(its);
  } else if (capsule == nullptr) {
    auto* const its = static_cast<DLManagedTensor*>(managed);
    its->deleter(its);
  }
  return Ref(capsule);
}

std::pair<int, int> dlpack_device(const Tensor& tensor) {
  if (tensor.device.kind == DeviceId::Kind::cuda) return {kDLCUDA, tensor.device.ordinal};
  return {kDLCPU, 0};
}

[[noreturn]] void refuse(PyObject* type, const char* message) {
  PyErr_SetString(type, message);
  throw PythonError();
}

/// The stream of the array API standard: None and 1 the legacy default stream, 2 that of the thread, others a handle.
CUstream_st* stream_of(PyObject* stream) {
  constexpr std::uint64_t legacy = 1;
  const std::uint64_t handle = stream == Py_None ? legacy : number_of(stream);
  if (handle == 0) refuse(PyExc_ValueError, "stream 0 may mean two streams: pass 1, the legacy default, or 2");
  return handle == legacy ? nullptr : reinterpret_cast<CUstream_st*>(handle);
}

bool is_minus_one(PyObject* stream) {
  if (stream == Py_None) return false;
  const long value = PyLong_AsLong(stream);
  if (value == -1 && PyErr_Occurred() != nullptr) {
    if (PyErr_ExceptionMatches(PyExc_OverflowError) == 0) throw PythonError();
    PyErr_Clear();
    return false;
  }
  return value == -1;
}

/// Has the consumer's stream wait for a tensor that has not arrived, where there is one.
void order_behind(PyTensor& its, PyObject* stream) {
  const Tensor& tensor = *its.tensor;
  if (tensor.device.kind != DeviceId::Kind::cuda) {
    if (stream != Py_None) refuse(PyExc_ValueError, "memory of the host is on no stream: pass stream=None");
    return;
  }
  if (is_minus_one(stream)) return;
  CUstream_st* const handle = stream_of(stream);
  if (its.session == nullptr) return;
  const std::shared_ptr<Session> session = its.session;
  const std::string name(tensor.name);
  without_gil([&] { session->load.wait_on(handle, name, tensor.device); });
}

/// Of a tuple of two numbers.
std::pair<long, long> pair_of(PyObject* tuple, const char* message) {
  if (PyTuple_Check(tuple) == 0 || PyTuple_Size(tuple) != 2) refuse(PyExc_TypeError, message);
  const std::pair<long, long> pair{PyLong_AsLong(PyTuple_GetItem(tuple, 0)), PyLong_AsLong(PyTuple_GetItem(tuple, 1))};
  if (PyErr_Occurred() != nullptr) throw PythonError();
  return pair;
}

/// What is asked for by name with a call of __dlpack__().
struct Asked {
  PyObject* stream = Py_None;
  PyObject* max_version = Py_None;
  PyObject* dl_device = Py_None;
  PyObject* copy = Py_None;
};

/// Of a vector call. Frameworks call this for each tensor: Python's own parser of arguments takes longer than the rest.
Asked asked_of(PyObject* const* arguments, Py_ssize_t unnamed, PyObject* names) {
  if (unnamed != 0) refuse(PyExc_TypeError, "__dlpack__() takes arguments by their names only");
  Asked asked;
  const std::pair<const char*, PyObject*&> known[] = {{"stream", asked.stream},
                                                      {"max_version", asked.max_version},
                                                      {"dl_device", asked.dl_device},
                                                      {"copy", asked.copy}};
  for (Py_ssize_t i = 0, count = names == nullptr ? 0 : PyTuple_Size(names); i < count; ++i) {
    PyObject* const name = PyTuple_GetItem(names, i);
    const auto* const its = std::find_if(std::begin(known), std::end(known), [&](const auto& each) {
      return PyUnicode_CompareWithASCIIString(name, each.first) == 0;
    });
    if (its == std::end(known)) {
      PyErr_Format(PyExc_TypeError, "__dlpack__() got an unexpected keyword argument %R", name);
      throw PythonError();
    }
    its->second = arguments[i];
  }
  return asked;
}

/// Refuses what cannot be had beside the capsule.
void check_asked(const Tensor& tensor, PyObject* device, PyObject* copy) {
  if (tensor.device.kind == DeviceId::Kind::null) {
    refuse(PyExc_BufferError, "the null device keeps nothing that could be handed over");
  }
  const int wants_copy = copy == Py_None ? 0 : PyObject_IsTrue(copy);
  check(wants_copy);
  if (wants_copy != 0) {
    refuse(PyExc_BufferError, "sluice hands out its memory: copy it where it is taken");
  }
  if (device == Py_None) return;
  const std::pair<long, long> its = dlpack_device(tensor);
  if (pair_of(device, "dl_device is a type and a number") != its) {
    refuse(PyExc_BufferError, "the tensor is on another device: move it where it is taken");
  }
}

PyObject* dlpack(PyObject* self, PyObject* const* arguments, Py_ssize_t unnamed, PyObject* names) {
  return guarded([&] {
    const Asked asked = asked_of(arguments, unnamed, names);
    PyTensor& its = tensor_of(self);
    check_asked(*its.tensor, asked.dl_device, asked.copy);
    const bool versioned =
        asked.max_version != Py_None && pair_of(asked.max_version, "max_version is two numbers").first >= 1;
    order_behind(its, asked.stream);
    return make_capsule(its.tensor, versioned);
  });
}

PyObject* dlpack_device_method(PyObject* self, PyObject*) {
  const auto [type, number] = dlpack_device(*tensor_of(self).tensor);
  return Py_BuildValue("(ii)", type, number);
}

// --- the buffer protocol ---

/// How the struct module spells elements that it has; null for others, which are given as bytes.
const char* format_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::boolean:
      return "?";
    case Dtype::u8:
      return "B";
    case Dtype::i8:
      return "b";
    case Dtype::u16:
      return "H";
    case Dtype::i16:
      return "h";
    case Dtype::u32:
      return "I";
    case Dtype::i32:
      return "i";
    case Dtype::u64:
      return "Q";
    case Dtype::i64:
      return "q";
    case Dtype::f16:
      return "e";
    case Dtype::f32:
      return "f";
    case Dtype::f64:
      return "d";
    case Dtype::c64:
      return "Zf";
    default:
      return nullptr;
  }
}

/// Shape and strides of one view.
struct View {
  std::vector<Py_ssize_t> shape;
  std::vector<Py_ssize_t> strides;
};

std::unique_ptr<View> view_of(const Tensor& tensor, Py_ssize_t element) {
  auto view = std::make_unique<View>();
  const std::size_t dimensions = tensor.shape.size();
  view->shape.resize(dimensions);
  view->strides.resize(dimensions);
  Py_ssize_t stride = element;
  for (std::size_t d = dimensions; d-- > 0;) {
    view->shape[d] = static_cast<Py_ssize_t>(std::min<std::uint64_t>(tensor.shape[d], PY_SSIZE_T_MAX));
    view->strides[d] = stride;
    if (tensor.bytes != 0) stride *= view->shape[d];  // with no elements, there may be any numbers beside the 0
  }
  return view;
}

/// Whether it is in the order of both C and Fortran.
bool is_column_major(const Tensor& tensor) {
  return tensor.bytes == 0 ||
         std::count_if(tensor.shape.begin(), tensor.shape.end(), [](std::uint64_t size) { return size != 1; }) < 2;
}

int get_buffer(PyObject* self, Buffer* buffer, int flags) {
  const Tensor& tensor = *tensor_of(self).tensor;
  buffer->owner = nullptr;
  if (tensor.device.kind != DeviceId::Kind::host) {
    PyErr_SetString(PyExc_BufferError, "the tensor is not in memory of the host: take it by __dlpack__");
    return -1;
  }
  static char nothing = 0;
  const char* const format = format_of(tensor.dtype);
  const bool as_bytes = format == nullptr || (flags & buffer_shape) == 0;
  if (!as_bytes && (flags & buffer_column_major) != 0 && !is_column_major(tensor)) {
    PyErr_SetString(PyExc_BufferError, "the tensor is row-major: ask for C's order");
    return -1;
  }
  buffer->data = tensor.data == nullptr ? &nothing : tensor.data;
  buffer->bytes = static_cast<Py_ssize_t>(tensor.bytes);
  buffer->readonly = 0;
  buffer->item_bytes = as_bytes ? 1 : bits(tensor.dtype) / 8;
  buffer->format = (flags & buffer_format) == 0 ? nullptr : const_cast<char*>(as_bytes ? "B" : format);
  buffer->dimensions = as_bytes ? 1 : static_cast<int>(tensor.shape.size());
  buffer->shape = nullptr;
  buffer->strides = nullptr;
  buffer->suboffsets = nullptr;
  buffer->internal = nullptr;
  if (as_bytes) {
    if ((flags & buffer_shape) != 0) buffer->shape = &buffer->bytes;
    if ((flags & buffer_strides) == buffer_strides) buffer->strides = &buffer->item_bytes;
  } else {
    std::unique_ptr<View> view;
    try {
      view = view_of(tensor, buffer->item_bytes);
    } catch (const std::bad_alloc&) {
      PyErr_NoMemory();
      return -1;
    }
    buffer->shape = view->shape.data();
    if ((flags & buffer_strides) == buffer_strides) buffer->strides = view->strides.data();
    buffer->internal = view.release();
  }
  Py_INCREF(self);
  buffer->owner = self;
  return 0;
}

void release_buffer(PyObject*, Buffer* buffer) {
  delete static_cast<View*>(buffer->internal);
}

// --- what it is ---

PyObject* get_name(PyObject* self, void*) {
  PyObject* const name = tensor_of(self).name;
  Py_INCREF(name);
  return name;
}

PyObject* get_dtype(PyObject* self, void*) {
  return guarded([&] { return dtype_text(tensor_of(self).tensor->dtype); });
}

PyObject* get_shape(PyObject* self, void*) {
  return guarded([&] { return shape_tuple(tensor_of(self).tensor->shape); });
}

PyObject* get_device(PyObject* self, void*) {
  return guarded([&] { return text(sluice::name(tensor_of(self).tensor->device)); });
}

PyObject* get_nbytes(PyObject* self, void*) {
  return guarded([&] { return number(tensor_of(self).tensor->bytes); });
}

PyObject* get_data_ptr(PyObject* self, void*) {
  return guarded([&] { return number(reinterpret_cast<std::uint64_t>(tensor_of(self).tensor->data)); });
}

PyObject* repr_tensor(PyObject* self) {
  return guarded([&] {
    const Tensor& tensor = *tensor_of(self).tensor;
    const Ref shape = shape_tuple(tensor.shape);
    return Ref(PyUnicode_FromFormat("<sluice.Tensor %R: %s %R on %s>", tensor_of(self).name,
                                    sluice::name(tensor.dtype).data(), shape.get(),
                                    sluice::name(tensor.device).c_str()));
  });
}

}  // namespace

Ref dtype_text(Dtype dtype) {
  static std::array<PyObject*, dtype_count> texts{};
  PyObject*& its = texts.at(static_cast<std::size_t>(dtype));
  if (its == nullptr) its = text(sluice::name(dtype)).release();
  Py_INCREF(its);
  return Ref(its);
}

Ref shape_tuple(std::span<const std::uint64_t> shape) {
  Ref tuple(PyTuple_New(static_cast<Py_ssize_t>(shape.size())));
  for (std::size_t d = 0; d < shape.size(); ++d) {
    check(PyTuple_SetItem(tuple.get(), static_cast<Py_ssize_t>(d), number(shape[d]).release()));
  }
  return tuple;
}

Ref new_tensor(std::shared_ptr<const Tensor> tensor, std::shared_ptr<Session> session) {
  Ref name = text(tensor->name);
  auto* const made = allocate<PyTensor>(state().tensor);
  made->name = name.release();
  new (&made->tensor) std::shared_ptr<const Tensor>(std::move(tensor));
  new (&made->session) std::shared_ptr<Session>(std::move(session));
  return Ref(&made->base);
}

PyObject* name_of_tensor(PyObject* tensor) {
  return tensor_of(tensor).name;
}

PyTypeObject* make_tensor_type() {
  static PyGetSetDef members[] = {
      {"name", get_name, nullptr, "The tensor's name.", nullptr},
      {"dtype", get_dtype, nullptr, "Its dtype as delivered, as safetensors spells it: \"BF16\".", nullptr},
      {"shape", get_shape, nullptr, "A tuple, outermost first; empty for a scalar.", nullptr},
      {"device", get_device, nullptr, "\"host\", \"cuda:0\" or \"null\".", nullptr},
      {"nbytes", get_nbytes, nullptr, "Bytes as delivered.", nullptr},
      {"data_ptr", get_data_ptr, nullptr, "Its address on its device; 0 where it has none.", nullptr},
      {}};
  static PyMethodDef methods[] = {
      {"__dlpack__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(dlpack)), METH_FASTCALL | METH_KEYWORDS,
       "A DLPack capsule of its memory, which lives as long as the capsule's consumer wants."},
      {"__dlpack_device__", dlpack_device_method, METH_NOARGS, "DLPack's type and number of its device."},
      {}};
  static PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(dealloc_tensor)},
                                {Py_tp_repr, reinterpret_cast<void*>(repr_tensor)},
                                {Py_tp_getset, members},
                                {Py_tp_methods, methods},
                                {get_buffer_slot, reinterpret_cast<void*>(get_buffer)},
                                {release_buffer_slot, reinterpret_cast<void*>(release_buffer)},
                                {Py_tp_doc, const_cast<char*>("A tensor, with its memory.")},
                                {}};
  static PyType_Spec spec{"sluice._sluice.Tensor", sizeof(PyTensor), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  return make_type(spec);
}

}  // namespace sluice::python
