#include "loader/python/records.hpp"

#include <initializer_list>

#include "loader/python/state.hpp"
#include "loader/python/tensor.hpp"
#include "sluice/options.hpp"

namespace sluice::python {
namespace {

Ref make_record(PyTypeObject* type, std::initializer_list<PyObject*> values) {
  Ref record(PyStructSequence_New(type));
  Py_ssize_t field = 0;
  for (PyObject* value : values) PyStructSequence_SetItem(record.get(), field++, value);
  return record;
}

PyTypeObject* make_record_type(const char* name, const char* doc, PyStructSequence_Field* fields, int count) {
  PyStructSequence_Desc description{name, doc, fields, count};
  PyTypeObject* const type = PyStructSequence_NewType(&description);
  if (type == nullptr) throw PythonError();
  return type;
}

Ref real(double value) {
  return Ref(PyFloat_FromDouble(value));
}

void put(const Ref& dictionary, const char* key, const Ref& value) {
  check(PyDict_SetItemString(dictionary.get(), key, value.get()));
}

Ref list_of(const std::vector<Fallback>& fallbacks) {
  Ref list(PyList_New(0));
  for (const Fallback& fallback : fallbacks) {
    const Ref entry(PyDict_New());
    put(entry, "what", text(fallback.what));
    put(entry, "reason", text(fallback.reason));
    check(PyList_Append(list.get(), entry.get()));
  }
  return list;
}

}  // namespace

void make_record_types() {
  static PyStructSequence_Field tensor_fields[] = {{"name", "the tensor's name"},
                                                   {"dtype", "as safetensors spells it"},
                                                   {"shape", "outermost first"},
                                                   {"nbytes", "bytes in the shard"},
                                                   {"shard", "index into Checkpoint.shards"},
                                                   {"offset", "bytes from the beginning of the shard"},
                                                   {}};
  static PyStructSequence_Field shard_fields[] = {{"path", "of the file"},
                                                  {"nbytes", "size of the file"},
                                                  {"data_offset", "where tensor data begin"},
                                                  {"metadata", "of the header, by name"},
                                                  {}};
  static PyStructSequence_Field progress_fields[] = {{"bytes_read", "from storage so far"},
                                                     {"bytes_total", "that will be read"},
                                                     {"tensors_ready", "that have arrived"},
                                                     {"tensors_total", "that will arrive"},
                                                     {"finished", "done, failed or cancelled"},
                                                     {"held_up", "by a budget: until tensors are let go of"},
                                                     {}};
  state().tensor_info = make_record_type("sluice.TensorInfo", "A tensor as it lies in its shard.", tensor_fields, 6);
  state().shard = make_record_type("sluice.Shard", "A file of a checkpoint.", shard_fields, 4);
  state().progress = make_record_type("sluice.Progress", "How far a load is.", progress_fields, 6);
}

Ref record_of(const TensorInfo& info) {
  Ref name = text(info.name);
  Ref dtype = dtype_text(info.dtype);
  Ref shape = shape_tuple(info.shape);
  Ref bytes = number(info.bytes);
  Ref shard = number(info.shard);
  Ref offset = number(info.offset);
  return make_record(state().tensor_info, {name.release(), dtype.release(), shape.release(), bytes.release(),
                                           shard.release(), offset.release()});
}

Ref record_of(const Shard& shard) {
  const std::string& native = shard.path.native();
  Ref path(PyUnicode_DecodeFSDefaultAndSize(native.data(), static_cast<Py_ssize_t>(native.size())));
  Ref metadata(PyDict_New());
  for (const auto& [key, value] : shard.metadata) {
    check(PyDict_SetItem(metadata.get(), text(key).get(), text(value).get()));
  }
  Ref bytes = number(shard.bytes);
  Ref offset = number(shard.data_offset);
  return make_record(state().shard, {path.release(), bytes.release(), offset.release(), metadata.release()});
}

Ref record_of(const Progress& progress) {
  Ref bytes = number(progress.bytes_read);
  Ref bytes_total = number(progress.bytes_total);
  Ref ready = number(progress.tensors_ready);
  Ref total = number(progress.tensors_total);
  Ref finished = truth(progress.finished);
  Ref held_up = truth(progress.held_up);
  return make_record(state().progress, {bytes.release(), bytes_total.release(), ready.release(), total.release(),
                                        finished.release(), held_up.release()});
}

Ref dictionary_of(const Stats& stats) {
  Ref all(PyDict_New());
  put(all, "bytes", number(stats.bytes));
  put(all, "delivered_bytes", number(stats.delivered_bytes));
  put(all, "seconds", real(stats.seconds));
  put(all, "gb_per_s", real(stats.gb_per_s()));
  put(all, "cpu_seconds", real(stats.cpu_seconds));
  put(all, "open_seconds", real(stats.open_seconds));
  put(all, "plan_seconds", real(stats.plan_seconds));
  put(all, "start_up_seconds", real(stats.start_up_seconds));
  put(all, "load_seconds", real(stats.load_seconds));
  put(all, "devices_seconds", real(stats.devices_seconds));
  put(all, "lanes_seconds", real(stats.lanes_seconds));
  put(all, "pinning_seconds", real(stats.pinning_seconds));
  put(all, "reader", text(name(stats.reader)));
  put(all, "io", text(stats.io()));
  put(all, "direct_bytes", number(stats.direct_bytes));
  put(all, "fallbacks", list_of(stats.fallbacks));
  put(all, "extents", number(stats.extents));
  put(all, "copies", number(stats.copies));
  put(all, "launches", number(stats.launches));
  put(all, "peak_staging_bytes", number(stats.peak_staging_bytes));
  put(all, "peak_arena_bytes", number(stats.peak_arena_bytes));
  put(all, "peak_resident_bytes", number(stats.peak_resident_bytes));
  put(all, "window_bytes", number(stats.window_bytes));
  put(all, "window_bytes_per_second", real(stats.window_bytes_per_second));
  put(all, "read_latency_seconds", real(stats.read_latency_seconds));
  return all;
}

Ref dictionary_of(const PlanCosts& costs) {
  Ref all(PyDict_New());
  put(all, "read_bytes", number(costs.read_bytes));
  put(all, "delivered_bytes", number(costs.delivered_bytes));
  put(all, "extents", number(costs.extents));
  put(all, "copies", number(costs.copies));
  put(all, "launches", number(costs.launches));
  put(all, "staging_bytes", number(costs.staging_bytes));
  const Ref devices(PyList_New(0));
  for (const PlanCosts::OnDevice& on : costs.devices) {
    const Ref device(PyDict_New());
    put(device, "device", text(name(on.device)));
    put(device, "tensors", number(on.tensors));
    put(device, "arena_bytes", number(on.arena_bytes));
    put(device, "link_bytes", number(on.link_bytes));
    put(device, "scratch_bytes", number(on.scratch_bytes));
    check(PyList_Append(devices.get(), device.get()));
  }
  put(all, "devices", devices);
  return all;
}

}  // namespace sluice::python
