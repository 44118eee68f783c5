// Tensor, as Python has it: a tensor that has arrived, held, or one that is ordered before what a stream does next. It
// speaks DLPack, and on the host the buffer protocol.
#pragma once

#include <memory>

#include "loader/python/python.hpp"
#include "loader/python/session.hpp"
#include "sluice/tensor.hpp"

namespace sluice::python {

/// The type, made once.
PyTypeObject* make_tensor_type();

/// `session` is null for a tensor that has arrived. With it, the tensor may not have arrived yet: whoever takes it by
/// DLPack has the stream that he names wait for it.
Ref new_tensor(std::shared_ptr<const Tensor> tensor, std::shared_ptr<Session> session = nullptr);

/// Its name, as Python has it.
PyObject* name_of_tensor(PyObject* tensor);

/// "BF16", the same object each time.
Ref dtype_text(Dtype dtype);
/// A tuple of numbers.
Ref shape_tuple(std::span<const std::uint64_t> shape);

}  // namespace sluice::python
