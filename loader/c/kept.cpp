// Kept tensors of sluice.h.
#include <memory>

#include "loader/c/border.hpp"
#include "loader/c/dlpack.hpp"
#include "loader/c/handles.hpp"
#include "loader/c/values.hpp"
#include "sluice/sluice.h"

using namespace sluice::border;

namespace {

const std::shared_ptr<const sluice::Tensor>& tensor_of(const sluice_kept* kept) {
  return required(kept, "kept").tensor;
}

}  // namespace

int sluice_kept_tensor(const sluice_kept* kept, sluice_tensor* tensor, sluice_error** error) {
  return run(error, [&] { give(sluice::border::tensor_of(*tensor_of(kept)), tensor, "tensor"); });
}
int sluice_kept_copy(const sluice_kept* kept, sluice_kept** copy, sluice_error** error) {
  return make(copy, "copy", error, [&] { return std::make_unique<sluice_kept>(required(kept, "kept")); });
}
void sluice_kept_free(sluice_kept* kept) {
  delete kept;
}

int sluice_kept_dlpack(const sluice_kept* kept, DLManagedTensorVersioned** managed, sluice_error** error) {
  if (managed != nullptr) *managed = nullptr;
  return run(error, [&] {
    DLManagedTensorVersioned*& made = required(managed, "managed");  // first: what is made needs an owner
    made = sluice::make_dlpack(tensor_of(kept));
  });
}
int sluice_kept_dlpack_unversioned(const sluice_kept* kept, DLManagedTensor** managed, sluice_error** error) {
  if (managed != nullptr) *managed = nullptr;
  return run(error, [&] {
    DLManagedTensor*& made = required(managed, "managed");
    made = sluice::make_unversioned_dlpack(tensor_of(kept));
  });
}
