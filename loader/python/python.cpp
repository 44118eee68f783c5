#include "loader/python/python.hpp"

#include <new>

#include "loader/python/state.hpp"
#include "sluice/error.hpp"

namespace sluice::python {
namespace {

/// None where there is no number.
Ref number_or_none(bool there, std::uint64_t value) {
  return there ? number(value) : none();
}

/// What sluice/_error.py makes an exception of.
Ref tuple_of(const Error& error) {
  const Ref code(PyLong_FromLong(static_cast<long>(error.code())));
  const Ref name = text(sluice::name(error.code()));
  const Ref what = text(error.what());
  const Ref message = text(error.message());
  const Ref path = error.path().empty() ? none() : text(error.path());
  const Ref offset = number_or_none(error.offset().has_value(), error.offset().value_or(0));
  const Ref tensor = error.tensor().empty() ? none() : text(error.tensor());
  const Ref line = number_or_none(error.line() != 0, error.line());
  const Ref column = number_or_none(error.column() != 0, error.column());
  const Ref hint = error.hint().empty() ? none() : text(error.hint());
  return Ref(PyTuple_Pack(10, code.get(), name.get(), what.get(), message.get(), path.get(), offset.get(), tensor.get(),
                          line.get(), column.get(), hint.get()));
}

void raise_error(const Error& error) {
  // No Ref: the maker is written in Python, where a thread may be unwound.
  PyObject* const arguments = tuple_of(error).release();
  PyObject* const made = PyObject_CallObject(state().make_error, arguments);
  Py_DECREF(arguments);
  if (made == nullptr) throw PythonError();
  PyErr_SetObject(PyExceptionInstance_Class(made), made);
  Py_DECREF(made);
}

}  // namespace

std::string string_of(PyObject* object) {
  if (PyUnicode_Check(object) == 0) {
    PyErr_Format(PyExc_TypeError, "a string is wanted, not %R", object);
    throw PythonError();
  }
  Py_ssize_t size = 0;
  const Ref bytes(PyUnicode_AsEncodedString(object, "utf-8", "surrogateescape"));
  char* data = nullptr;
  check(PyBytes_AsStringAndSize(bytes.get(), &data, &size));
  return {data, static_cast<std::size_t>(size)};
}

std::vector<std::string> strings_of(PyObject* list) {
  const Py_ssize_t count = PyList_Size(list);
  if (count < 0) throw PythonError();
  std::vector<std::string> strings;
  strings.reserve(static_cast<std::size_t>(count));
  for (Py_ssize_t i = 0; i < count; ++i) strings.push_back(string_of(PyList_GetItem(list, i)));
  return strings;
}

std::uint64_t number_of(PyObject* object) {
  const Ref whole(PyNumber_Index(object));
  const std::uint64_t value = PyLong_AsUnsignedLongLong(whole.get());
  if (value == UINT64_MAX && PyErr_Occurred() != nullptr) throw PythonError();
  return value;
}

std::uint32_t number32_of(PyObject* object) {
  const std::uint64_t value = number_of(object);
  if (value > UINT32_MAX) {
    PyErr_Format(PyExc_OverflowError, "%R is more than 32 bits hold", object);
    throw PythonError();
  }
  return static_cast<std::uint32_t>(value);
}

void raise(const std::exception& error) {
  try {
    if (dynamic_cast<const PythonError*>(&error) != nullptr) return;
    if (const auto* known = dynamic_cast<const Error*>(&error); known != nullptr && state().make_error != nullptr) {
      raise_error(*known);
    } else if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
      PyErr_NoMemory();
    } else {
      PyErr_SetString(PyExc_RuntimeError, error.what());
    }
  } catch (const std::exception&) {
    if (PyErr_Occurred() == nullptr) PyErr_NoMemory();
  }
}

}  // namespace sluice::python
