// The buffer protocol as the stable ABI has it from 3.11 on. 3.10 has the same struct and slots, but outside of the
// limited API; so they are written down here under names of our own, from the documentation of both.
#pragma once

#include "loader/python/python.hpp"

namespace sluice::python {

struct Buffer {
  void* data;
  PyObject* owner;
  Py_ssize_t bytes;
  Py_ssize_t item_bytes;
  int readonly;
  int dimensions;
  char* format;
  Py_ssize_t* shape;
  Py_ssize_t* strides;
  Py_ssize_t* suboffsets;
  void* internal;
};

inline constexpr int get_buffer_slot = 1;
inline constexpr int release_buffer_slot = 2;

// What a consumer asks for.
inline constexpr int buffer_format = 0x4;
inline constexpr int buffer_shape = 0x8;
inline constexpr int buffer_strides = 0x10 | buffer_shape;
inline constexpr int buffer_column_major = 0x40;  // the first index the fastest, as in Fortran; or it is refused

}  // namespace sluice::python
