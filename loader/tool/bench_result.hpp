// BenchResult: everything that `sluice bench` measured, sample by sample, and what follows from it. Plain data and pure
// functions; reports, objects and plots are made of it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "loader/tool/diagnosis.hpp"
#include "loader/tool/limit_probes.hpp"
#include "loader/tool/machine.hpp"
#include "loader/tool/start.hpp"

namespace sluice::tool {

struct Spread {
  double median = 0;  // of an even number the mean of the two in the middle
  double least = 0;
  double most = 0;
};
/// All 0 for no values.
Spread spread_of(std::vector<double> values);

/// What was left out, or needs to be known of what was not.
struct Note {
  std::string what;  // "cold", "warm", "storage", "page cache"
  std::string reason;
};

struct BenchResult {
  Machine machine;

  struct {
    std::string path;
    std::uint64_t shards = 0;
    std::uint64_t tensors = 0;
    std::uint64_t bytes = 0;  // of all shards
  } checkpoint;

  /// What a load of it takes, as its plan says.
  struct {
    std::vector<std::string> devices;
    std::uint64_t read_bytes = 0;
    std::uint64_t fresh_bytes = 0;  // of host memory, for tensors
    bool casts = false;
    struct OverLink {
      std::string device;
      std::uint64_t bytes = 0;
    };
    std::vector<OverLink> links;
  } load;

  struct OfSetting {
    StorageSetting setting;
    std::vector<double> bytes_per_second;
  };
  std::vector<OfSetting> storage;
  std::string storage_reader;
  bool storage_is_direct = true;
  unsigned threads = 1;  // that copy out of the page cache and touch memory
  std::vector<double> cache_bytes_per_second;
  bool cache_into_fresh_memory = false;
  std::vector<double> fresh_bytes_per_second;
  std::vector<LinkSample> links;

  std::vector<Start> cold;  // one a round, as the next
  std::vector<Start> warm;
  double others_share = 0;  // of the machine's processors, that others used while starts ran
  std::vector<Note> notes;
};

/// The setting with the highest median; nullptr where none was measured.
const BenchResult::OfSetting* best_setting(const BenchResult& result) noexcept;
/// In bytes a second, one a round, of one device's link; none where it was not measured.
std::vector<double> link_rates(const BenchResult& result, std::size_t device);
/// The median of them; 0 where there are none.
double link_rate(const BenchResult& result, std::size_t device);
/// How long the driver took to start, one a round; none without GPUs.
std::vector<double> driver_seconds(const BenchResult& result);

/// What the starts of one kind come to.
struct Summary {
  Spread seconds;
  Spread process_seconds;
  double gb_per_s = 0;  // medians from here on
  double open_seconds = 0;
  double plan_seconds = 0;
  double start_up_seconds = 0;
  double load_seconds = 0;
  double cpu_seconds_per_gb = 0;
  std::uint64_t peak_resident_bytes = 0;  // the most of all rounds, as the next
  std::uint64_t peak_staging_bytes = 0;
  Diagnosis diagnosis;
  double share_of_limit = 0;  // of diagnosis.limit; 0 where there is none
};

/// REQUIRES: `starts`, either of the result's, is not empty.
Summary summarise(const BenchResult& result, const std::vector<Start>& starts);

}  // namespace sluice::tool
