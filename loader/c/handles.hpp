// The handles of sluice.h: what each of them holds. Rules, destinations and slices are the library's own objects under
// another name, as they are parts of others.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "sluice/checkpoint.hpp"
#include "sluice/engine.hpp"
#include "sluice/error.hpp"
#include "sluice/load.hpp"
#include "sluice/plan.hpp"
#include "sluice/request.hpp"
#include "sluice/slice.hpp"
#include "sluice/sluice.h"
#include "sluice/stats.hpp"
#include "sluice/tensor.hpp"
#include "sluice/trace.hpp"

// NOLINTBEGIN(readability-identifier-naming): the names are those of C.

struct sluice_error {
  sluice::Error error;
};

struct sluice_text {
  std::string text;
};

struct sluice_checkpoint {
  sluice::Checkpoint checkpoint;
};

struct sluice_request {
  sluice::Request request;
};

struct sluice_findings {
  std::vector<sluice_error> errors;
};

// Lists that the plan makes anew for each call are made once, when somebody asks for one of their elements.
struct sluice_plan {
  explicit sluice_plan(sluice::Plan made) noexcept : plan(std::move(made)) {}

  sluice::Plan plan;
  mutable std::mutex mutex;
  mutable std::optional<std::vector<sluice::Tensor>> tensors;
  mutable std::optional<std::vector<const sluice::TensorInfo*>> left_out;
};

struct sluice_engine {
  sluice::Engine engine;
};

struct sluice_load {
  explicit sluice_load(sluice::Load started) noexcept : load(std::move(started)) {}

  sluice::Load load;
  mutable std::mutex mutex;
  mutable std::list<sluice::Fallback> told;  // whose strings were handed out
};

struct sluice_kept {
  std::shared_ptr<const sluice::Tensor> tensor;
};

struct sluice_trace {
  sluice::Trace trace;
};

// NOLINTEND(readability-identifier-naming)

namespace sluice::border {

inline Slice* inner(sluice_slice* slice) noexcept {
  return reinterpret_cast<Slice*>(slice);
}
inline const Slice* inner(const sluice_slice* slice) noexcept {
  return reinterpret_cast<const Slice*>(slice);
}
inline Rule* inner(sluice_rule* rule) noexcept {
  return reinterpret_cast<Rule*>(rule);
}
inline const Rule* inner(const sluice_rule* rule) noexcept {
  return reinterpret_cast<const Rule*>(rule);
}
inline Destination* inner(sluice_destination* destination) noexcept {
  return reinterpret_cast<Destination*>(destination);
}
inline const Destination* inner(const sluice_destination* destination) noexcept {
  return reinterpret_cast<const Destination*>(destination);
}

inline sluice_rule* outer(Rule* rule) noexcept {
  return reinterpret_cast<sluice_rule*>(rule);
}
inline const sluice_rule* outer(const Rule* rule) noexcept {
  return reinterpret_cast<const sluice_rule*>(rule);
}
inline sluice_destination* outer(Destination* destination) noexcept {
  return reinterpret_cast<sluice_destination*>(destination);
}
inline const sluice_destination* outer(const Destination* destination) noexcept {
  return reinterpret_cast<const sluice_destination*>(destination);
}
inline const sluice_slice* outer(const Slice* slice) noexcept {
  return reinterpret_cast<const sluice_slice*>(slice);
}

}  // namespace sluice::border
