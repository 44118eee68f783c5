#include "loader/tool/diagnosis.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "loader/tool/text.hpp"

namespace sluice::tool {

namespace {

// Of the time that a start took: what explains less does not hold it back, whatever else does.
constexpr double most_of = 0.5;
// Where copying needs this much of what the processors' time comes to, that time is the copying.
constexpr double same_work = 0.8;

std::string at_rate(std::uint64_t bytes, double bytes_per_second) {
  // A device's worth of digits: 25.1 GB/s as well as 0.0203 GB/s.
  return fmt::format("{} at {:.3g} GB/s", decimal_size(bytes), bytes_per_second / 1e9);
}

double seconds_for(std::uint64_t bytes, double bytes_per_second) {
  return bytes_per_second > 0 ? static_cast<double>(bytes) / bytes_per_second : 0;
}

std::optional<Explanation> explain_link(const Evidence& evidence) {
  std::optional<Explanation> slowest;
  for (const Evidence::OverLink& link : evidence.links) {
    const double seconds = seconds_for(link.bytes, link.bytes_per_second);
    if (seconds <= 0 || (slowest && slowest->seconds >= seconds)) continue;
    slowest = {Resource::link, seconds,
               fmt::format("{} over the link to {}", at_rate(link.bytes, link.bytes_per_second), link.device)};
  }
  return slowest;
}

std::optional<Explanation> explain_memory(const Evidence& evidence) {
  const double copying = seconds_for(evidence.cached_bytes, evidence.cache_bytes_per_second);
  const double touching = seconds_for(evidence.fresh_bytes, evidence.fresh_bytes_per_second);
  if (copying <= 0 && touching <= 0) return std::nullopt;
  if (copying >= touching) {
    return Explanation{
        Resource::memory, copying,
        fmt::format("{} out of the page cache{}", at_rate(evidence.cached_bytes, evidence.cache_bytes_per_second),
                    evidence.cache_into_fresh_memory ? " into fresh memory" : "")};
  }
  return Explanation{
      Resource::memory, touching,
      fmt::format("making {} of fresh memory present", at_rate(evidence.fresh_bytes, evidence.fresh_bytes_per_second))};
}

/// Processors that are not allowed, or for which there is no thread, do not help. More processor time than that many
/// have in the time that the start took was spent by other threads.
std::optional<Explanation> explain_processor(const Evidence& evidence) {
  if (evidence.cpu_seconds <= 0) return std::nullopt;
  const unsigned used = std::max(1u, std::min(evidence.processors, evidence.threads));
  const double seconds = std::max(std::min(evidence.cpu_seconds / used, evidence.seconds),
                                  evidence.cpu_seconds / std::max(1u, evidence.processors));
  return Explanation{Resource::processor, seconds,
                     fmt::format("{} of processor time on {}", duration(evidence.cpu_seconds),
                                 used < evidence.processors ? count(used, "thread") : count(used, "processor"))};
}

std::vector<Explanation> explain(const Evidence& evidence) {
  std::vector<Explanation> all;
  const auto add = [&](std::optional<Explanation> explanation) {
    if (explanation && explanation->seconds > 0) all.push_back(std::move(*explanation));
  };
  add(Explanation{Resource::storage, seconds_for(evidence.storage_bytes, evidence.storage_bytes_per_second),
                  at_rate(evidence.storage_bytes, evidence.storage_bytes_per_second) + " from storage"});
  add(explain_link(evidence));
  add(explain_memory(evidence));
  add(explain_processor(evidence));
  add(Explanation{Resource::driver, evidence.driver_seconds, "starting the driver"});
  std::stable_sort(all.begin(), all.end(),
                   [](const Explanation& left, const Explanation& right) { return left.seconds > right.seconds; });
  return all;
}

/// Whether what comes before the first read takes most of the time.
bool is_mostly_preparation(const Evidence& evidence) {
  double seconds = 0;
  for (const Evidence::Phase& phase : evidence.phases) {
    if (phase.name == "open" || phase.name == "plan") seconds += phase.seconds;
  }
  return seconds > most_of * evidence.seconds;
}

const char* help_for(Resource resource, const Evidence& evidence) {
  switch (resource) {
    case Resource::storage:
      return "a faster disk, or fewer bytes to read (--select, a smaller dtype in the files), would help";
    case Resource::link:
      return "a link of more lanes, or a part of each tensor to each of several GPUs (--slice), would help";
    case Resource::memory:
      return "memory that is kept from load to load, or fewer bytes, would help; a faster disk would not";
    case Resource::processor:
      if (is_mostly_preparation(evidence)) {
        return "most of it went into open and plan: fewer tensors, or a process that keeps them, would help";
      }
      return evidence.casts ? "more processors, --threads up to their number, or a dtype that needs no cast would help"
                            : "more processors, or --threads up to their number, would help";
    case Resource::driver:
      return "a process that stays, Engine::prepare() ahead of the load, or a driver in persistence mode would help";
  }
  return "";
}

std::string told(const Evidence& evidence, const Explanation& explanation) {
  // A limit that the load passed was measured while the machine had less to give.
  const std::string share = explanation.seconds <= evidence.seconds
                                ? fmt::format("takes {} of the {} ({:.0f} %)", duration(explanation.seconds),
                                              duration(evidence.seconds), 100 * explanation.seconds / evidence.seconds)
                                : fmt::format("took {} by itself, where all of the start took {}",
                                              duration(explanation.seconds), duration(evidence.seconds));
  return fmt::format("{} holds it back: {} {}; {}", name(explanation.resource), explanation.work, share,
                     help_for(explanation.resource, evidence));
}

std::string unexplained(const Evidence& evidence, const std::vector<Explanation>& explanations) {
  std::string sentence = fmt::format("nothing measured explains it: of the {}", duration(evidence.seconds));
  for (std::size_t i = 0; i < explanations.size(); ++i) {
    sentence += fmt::format(", {} {}{}", name(explanations[i].resource), i == 0 ? "would take " : "",
                            duration(explanations[i].seconds));
  }
  const auto longest =
      std::max_element(evidence.phases.begin(), evidence.phases.end(),
                       [](const auto& left, const auto& right) { return left.seconds < right.seconds; });
  if (longest != evidence.phases.end()) {
    sentence += fmt::format("; the longest phase was {} with {}", longest->name, duration(longest->seconds));
  }
  if (evidence.others_share > others_share_max) {
    return sentence + fmt::format(", while others used {:.0f} % of the processors", 100 * evidence.others_share);
  }
  return sentence + ", and `sluice load --trace FILE` shows what happened in it";
}

}  // namespace

std::string_view name(Resource resource) noexcept {
  switch (resource) {
    case Resource::storage:
      return "storage";
    case Resource::link:
      return "link";
    case Resource::memory:
      return "memory";
    case Resource::processor:
      return "processor";
    case Resource::driver:
      return "driver start-up";
  }
  return "unknown";
}

Diagnosis diagnose(const Evidence& evidence) {
  Diagnosis diagnosis;
  diagnosis.explanations = explain(evidence);
  const std::vector<Explanation>& all = diagnosis.explanations;
  const auto find = [&](auto wanted) {
    const auto found = std::find_if(all.begin(), all.end(), wanted);
    return found == all.end() ? nullptr : &*found;
  };
  if (const Explanation* const limit = find([](const Explanation& one) {
        return one.resource != Resource::processor && one.resource != Resource::driver;
      })) {
    diagnosis.limit = *limit;
  }
  if (all.empty() || evidence.seconds <= 0 || all.front().seconds < most_of * evidence.seconds) {
    diagnosis.sentence = unexplained(evidence, all);
    return diagnosis;
  }
  const Explanation* winner = &all.front();
  if (winner->resource == Resource::processor) {
    // Copying keeps processors busy while they wait for memory: what it needs at least says more than that.
    const Explanation* const memory = find([](const Explanation& one) { return one.resource == Resource::memory; });
    if (memory != nullptr && memory->seconds >= same_work * winner->seconds) winner = memory;
  }
  diagnosis.bottleneck = winner->resource;
  diagnosis.sentence = told(evidence, *winner);
  return diagnosis;
}

}  // namespace sluice::tool
