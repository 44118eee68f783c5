#include "loader/python/load.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>
#include <optional>
#include <string>

#include "loader/python/checkpoint.hpp"
#include "loader/python/records.hpp"
#include "loader/python/request_of.hpp"
#include "loader/python/session.hpp"
#include "loader/python/state.hpp"
#include "loader/python/tensor.hpp"
#include "sluice/error.hpp"

namespace sluice::python {
namespace {

using SessionPointer = std::shared_ptr<Session>;

struct PyLoad {
  PyObject base;
  SessionPointer session;  // null once it was closed
};

struct PyArrivals {
  PyObject base;
  SessionPointer session;  // null once there is nothing more
  std::size_t next;
};

/// Ends what it holds, if nobody else holds it, while other threads run Python.
void let_go(SessionPointer session) {
  if (session == nullptr) return;
  PyThreadState* const thread = PyEval_SaveThread();
  session.reset();
  PyEval_RestoreThread(thread);
}

template <typename Instance>
void dealloc_holder(PyObject* self) {
  auto& its = *reinterpret_cast<Instance*>(self);
  SessionPointer session = std::move(its.session);
  its.session.~SessionPointer();
  free_instance(self);
  let_go(std::move(session));
}

PyLoad& load_of(PyObject* self) {
  return *reinterpret_cast<PyLoad*>(self);
}

/// A copy, so that a thread may close the load while another waits in it.
SessionPointer session_of(PyObject* self) {
  SessionPointer session = load_of(self).session;
  if (session == nullptr) {
    throw Error(ErrorCode::invalid_argument, "the load was closed", {}, "tensors that were taken before stay");
  }
  return session;
}

std::optional<DeviceId> device_of(PyObject* name) {
  if (name == Py_None) return std::nullopt;
  const std::vector<DeviceId> devices = parse_devices(string_of(name));
  if (devices.size() != 1) throw Error(ErrorCode::invalid_argument, "one device is wanted, not several");
  return devices.front();
}

std::optional<double> seconds_of(PyObject* timeout) {
  if (timeout == Py_None) return std::nullopt;
  const double seconds = PyFloat_AsDouble(timeout);
  if (seconds == -1 && PyErr_Occurred() != nullptr) throw PythonError();
  if (std::isnan(seconds)) throw Error(ErrorCode::invalid_argument, "the timeout is no number");
  return std::clamp(seconds, 0.0, 1e9);
}

// --- iterators ---

PyObject* make_arrivals(PyObject* self) {
  return guarded([&] {
    SessionPointer session = session_of(self);
    auto* const made = allocate<PyArrivals>(state().arrivals);
    new (&made->session) SessionPointer(std::move(session));
    made->next = 0;
    return Ref(&made->base);
  });
}

/// Null where there are no more.
Ref next_pair(PyArrivals& its) {
  for (;;) {
    const SessionPointer session = its.session;
    if (session == nullptr) return {};
    const std::size_t index = its.next;
    wait_with_signals(session, std::nullopt,
                      [&](std::chrono::nanoseconds timeout) { return session->load.wait_for_arrival(index, timeout); });
    if (its.next != index) continue;  // another thread took it
    const Tensor* const tensor = session->load.arrival(index);
    if (tensor == nullptr) {
      let_go(std::move(its.session));
      return {};
    }
    ++its.next;
    if (has_left(*session, *tensor)) continue;  // it was asked for by its name
    const Ref held = new_tensor(keep(*session, *tensor));
    return Ref(PyTuple_Pack(2, name_of_tensor(held.get()), held.get()));
  }
}

PyObject* next_arrival(PyObject* self) {
  return guarded([&] { return next_pair(*reinterpret_cast<PyArrivals*>(self)); });
}

PyObject* itself(PyObject* self) {
  Py_INCREF(self);
  return self;
}

// --- methods ---

PyObject* wait_all(PyObject* self, PyObject* timeout) {
  return guarded([&] {
    const SessionPointer session = session_of(self);
    return truth(wait_with_signals(session, seconds_of(timeout),
                                   [&](std::chrono::nanoseconds at_most) { return session->load.wait_for(at_most); }));
  });
}

PyObject* wait_one(PyObject* self, PyObject* arguments) {
  return guarded([&] {
    PyObject* name = nullptr;
    PyObject* device_name = nullptr;
    PyObject* timeout = nullptr;
    if (PyArg_ParseTuple(arguments, "OOO:wait_for", &name, &device_name, &timeout) == 0) throw PythonError();
    const SessionPointer session = session_of(self);
    const std::optional<DeviceId> device = device_of(device_name);
    const std::string wanted = string_of(name);
    const Tensor* tensor = nullptr;
    wait_with_signals(session, seconds_of(timeout), [&](std::chrono::nanoseconds at_most) {
      tensor = wait_for(session->load, wanted, device, at_most);
      return tensor != nullptr;
    });
    return tensor == nullptr ? none() : new_tensor(keep(*session, *tensor));
  });
}

PyObject* find_arrived(PyObject* self, PyObject* arguments) {
  return guarded([&] {
    PyObject* name = nullptr;
    PyObject* device_name = nullptr;
    if (PyArg_ParseTuple(arguments, "OO:find", &name, &device_name) == 0) throw PythonError();
    const SessionPointer session = session_of(self);
    const std::optional<DeviceId> device = device_of(device_name);
    const std::string wanted = string_of(name);
    const Tensor* const tensor = device ? session->load.find(wanted, *device) : session->load.find(wanted);
    return tensor == nullptr ? none() : new_tensor(keep(*session, *tensor));
  });
}

PyObject* wait_on(PyObject* self, PyObject* arguments) {
  return guarded([&] {
    PyObject* stream = nullptr;
    PyObject* name = nullptr;
    PyObject* device_name = nullptr;
    if (PyArg_ParseTuple(arguments, "OOO:wait_on", &stream, &name, &device_name) == 0) throw PythonError();
    const SessionPointer session = session_of(self);
    if (session->has_budget) {
      throw Error(ErrorCode::invalid_argument, "with a budget tensors are handed out once they have arrived", {},
                  "wait for it, or load without a budget");
    }
    const std::optional<DeviceId> device = device_of(device_name);
    const std::string wanted = string_of(name);
    auto* const handle = reinterpret_cast<CUstream_st*>(number_of(stream));
    const Tensor* tensor = nullptr;
    wait_with_signals(session, std::nullopt, [&](std::chrono::nanoseconds at_most) {
      if (at_most.count() == 0) return false;  // the driver is not to be called with the GIL
      tensor = device ? session->load.wait_on_for(handle, wanted, *device, at_most)
                      : session->load.wait_on_for(handle, wanted, at_most);
      return tensor != nullptr;
    });
    return new_tensor({session, tensor}, session);
  });
}

PyObject* cancel(PyObject* self, PyObject*) {
  return guarded([&] {
    if (const SessionPointer session = load_of(self).session; session != nullptr) session->load.cancel();
    return none();
  });
}

PyObject* close(PyObject* self, PyObject*) {
  return guarded([&] {
    SessionPointer session = std::move(load_of(self).session);
    if (session != nullptr) {
      session->load.cancel();
      without_gil([&] {
        try {
          session->load.wait_for(std::chrono::nanoseconds::max());  // an iterator may hold it, or a thread that waits
        } catch (const std::exception&) {
          // It was cancelled, or failed; or its process is another.
        }
        session.reset();
      });
    }
    return none();
  });
}

PyObject* progress(PyObject* self, PyObject*) {
  return guarded([&] { return record_of(session_of(self)->load.progress()); });
}

PyObject* statistics(PyObject* self, PyObject*) {
  return guarded([&] { return dictionary_of(session_of(self)->load.statistics()); });
}

PyObject* costs(PyObject* self, PyObject*) {
  return guarded([&] { return dictionary_of(session_of(self)->plan.costs()); });
}

/// (name, device) of each tensor that will arrive, in the plan's order.
PyObject* tensors(PyObject* self, PyObject*) {
  return guarded([&] {
    const SessionPointer session = session_of(self);
    const std::vector<Tensor> all = session->plan.tensors();
    Ref list(PyList_New(static_cast<Py_ssize_t>(all.size())));
    for (std::size_t i = 0; i < all.size(); ++i) {
      const Ref name = text(all[i].name);
      const Ref device = text(sluice::name(all[i].device));
      Ref pair(PyTuple_Pack(2, name.get(), device.get()));
      check(PyList_SetItem(list.get(), static_cast<Py_ssize_t>(i), pair.release()));
    }
    return list;
  });
}

}  // namespace

PyObject* prepare_devices(PyObject*, PyObject* devices) {
  return guarded([&] {
    const std::vector<DeviceId> wanted = parse_devices(string_of(devices));
    OwnEngine::get()->prepare(wanted);
    return none();
  });
}

PyObject* start_load(PyObject*, PyObject* arguments) {
  return guarded([&] {
    PyObject* checkpoint = nullptr;
    PyObject* wishes = nullptr;
    int waits_when_full = 0;
    if (PyArg_ParseTuple(arguments, "O!Op:start", state().checkpoint, &checkpoint, &wishes, &waits_when_full) == 0) {
      throw PythonError();
    }
    const Wishes wanted = wishes_of(wishes);
    const Checkpoint opened = checkpoint_of(checkpoint);
    std::shared_ptr<OwnEngine> engine = OwnEngine::get();
    auto session = without_gil([&] {
      const Request request = request_of(wanted, opened);
      Plan plan = make_plan(opened, request, engine->options());
      Load load = engine->start(plan);
      return std::make_shared<Session>(Session{std::move(engine), opened, std::move(plan), std::move(load),
                                               wanted.budget_bytes != 0, waits_when_full != 0});
    });
    auto* const made = allocate<PyLoad>(state().load);
    new (&made->session) SessionPointer(std::move(session));
    return Ref(&made->base);
  });
}

PyTypeObject* make_load_type() {
  static PyMethodDef methods[] = {
      {"tensors", tensors, METH_NOARGS, "(name, device) of all that it delivers."},
      {"wait", wait_all, METH_O, "wait(timeout): for all; False where time is up."},
      {"wait_for", wait_one, METH_VARARGS, "wait_for(name, device, timeout): a Tensor; None where time is up."},
      {"find", find_arrived, METH_VARARGS, "find(name, device): the Tensor if it has arrived, else None."},
      {"wait_on", wait_on, METH_VARARGS, "wait_on(stream, name, device): a Tensor that the stream will have."},
      {"cancel", cancel, METH_NOARGS, "Asks it to end."},
      {"close", close, METH_NOARGS, "Cancels it and waits until nothing is read any more."},
      {"progress", progress, METH_NOARGS, "A Progress."},
      {"statistics", statistics, METH_NOARGS, "A dictionary; complete once the load has ended."},
      {"costs", costs, METH_NOARGS, "What the plan said that it would cost."},
      {}};
  static PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(dealloc_holder<PyLoad>)},
                                {Py_tp_iter, reinterpret_cast<void*>(make_arrivals)},
                                {Py_tp_methods, methods},
                                {Py_tp_doc, const_cast<char*>("A running load.")},
                                {}};
  static PyType_Spec spec{"sluice._sluice.Load", sizeof(PyLoad), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  return make_type(spec);
}

PyTypeObject* make_arrivals_type() {
  static PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(dealloc_holder<PyArrivals>)},
                                {Py_tp_iter, reinterpret_cast<void*>(itself)},
                                {Py_tp_iternext, reinterpret_cast<void*>(next_arrival)},
                                {Py_tp_doc, const_cast<char*>("Pairs of name and tensor in order of arrival.")},
                                {}};
  static PyType_Spec spec{"sluice._sluice.Arrivals", sizeof(PyArrivals), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  return make_type(spec);
}

}  // namespace sluice::python
