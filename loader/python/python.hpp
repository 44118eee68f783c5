// What all of the extension shares of Python: references that are owned, errors either way, and the lock that Python
// calls its GIL. Only Python's limited API is used, so that one module serves 3.10 and all that follow.
//
// A thread that wants the GIL back while the interpreter ends is unwound by force, and must not be caught or stopped:
// only std::exception is caught, never all, and nothing above such a wait is noexcept. What lives in these frames must
// not be a reference that the unwinding would drop without the GIL. Code written in Python may wait like this, too.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

static_assert(Py_LIMITED_API == 0x030A0000, "one module for Python 3.10 and newer");

namespace sluice::python {

/// Python has been told of an error already.
class PythonError : public std::exception {};

/// Owns a reference. Null only where it was made so, or moved from.
class Ref {
 public:
  Ref() noexcept = default;
  /// Takes a new reference. Throws PythonError for null, which is how Python's functions say that they failed.
  explicit Ref(PyObject* object) : object_(object) {
    if (object == nullptr) throw PythonError();
  }
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  Ref(const Ref&) = delete;
  Ref& operator=(const Ref&) = delete;
  ~Ref() { Py_XDECREF(object_); }

  PyObject* get() const noexcept { return object_; }
  PyObject* release() noexcept { return std::exchange(object_, nullptr); }

 private:
  PyObject* object_ = nullptr;
};

/// A call that says by a negative number that it failed.
inline void check(int result) {
  if (result < 0) throw PythonError();
}

inline Ref text(std::string_view utf8) {
  return Ref(PyUnicode_DecodeUTF8(utf8.data(), static_cast<Py_ssize_t>(utf8.size()), "surrogateescape"));
}
inline Ref number(std::uint64_t value) {
  return Ref(PyLong_FromUnsignedLongLong(value));
}
inline Ref none() {
  Py_INCREF(Py_None);
  return Ref(Py_None);
}
inline Ref truth(bool value) {
  return Ref(PyBool_FromLong(value ? 1 : 0));
}

/// Of a string, which may have a NUL in it. Throws PythonError for anything else.
std::string string_of(PyObject* object);
/// Of a list of strings.
std::vector<std::string> strings_of(PyObject* list);
/// Of a whole number, or what Python takes for one, that is not negative and not too large: nothing is cut off.
std::uint64_t number_of(PyObject* object);
std::uint32_t number32_of(PyObject* object);

/// Tells Python of what was thrown, as an exception of sluice's where it is one.
void raise(const std::exception& error);

/// What `body` returns, or null with Python told of what it threw.
template <typename Body>
PyObject* guarded(Body body) noexcept(false) {
  try {
    return body().release();
  } catch (const std::exception& error) {
    raise(error);
    return nullptr;
  }
}

/// Runs `work`, which may wait, while other threads run Python.
template <typename Work>
auto without_gil(Work work) {
  using Result = decltype(work());
  PyThreadState* const thread = PyEval_SaveThread();
  std::exception_ptr error;
  std::conditional_t<std::is_void_v<Result>, int, std::optional<Result>> result{};
  try {
    if constexpr (std::is_void_v<Result>) {
      work();
    } else {
      result.emplace(work());
    }
  } catch (const std::exception&) {
    error = std::current_exception();
  }
  PyEval_RestoreThread(thread);
  if (error != nullptr) std::rethrow_exception(error);
  if constexpr (!std::is_void_v<Result>) return std::move(*result);
}

}  // namespace sluice::python
