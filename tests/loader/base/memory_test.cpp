// Goal: mappings are aligned, fresh, populated where asked, kept from forks where asked and unmapped once; memory that
// can be had is counted, whatever control groups the process is in.
// Method: mincore says which pages are there, in a forked child too; an impossible size is refused; files in a folder
// stand for /proc and /sys.
#include "loader/base/memory.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "sluice/error.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t page_bytes = 4096;

// Pages of [begin, begin + bytes) that are present.
std::size_t present_pages(const std::byte* begin, std::uint64_t bytes) {
  std::vector<unsigned char> pages(bytes / page_bytes);
  EXPECT_EQ(mincore(const_cast<std::byte*>(begin), bytes, pages.data()), 0);
  return static_cast<std::size_t>(
      std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return (page & 1) != 0; }));
}

TEST(Mapping, IsAlignedToHugePagesZeroAndWholePagesLong) {
  const Mapping mapping(3 * huge_page_bytes + 1, "a test");
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(mapping.data()) % huge_page_bytes, 0u);
  EXPECT_EQ(mapping.size(), 3 * huge_page_bytes + page_bytes);
  EXPECT_EQ(mapping.data()[0], std::byte{0});
  mapping.data()[mapping.size() - 1] = std::byte{1};
}

TEST(Mapping, OfNoBytesMapsNothing) {
  Mapping mapping(0, "a test");
  EXPECT_EQ(mapping.data(), nullptr);
  EXPECT_EQ(mapping.size(), 0u);
  mapping.populate(0, 0);
}

TEST(Mapping, TakesNoMemoryUntilItIsTouched) {
  const Mapping mapping(8 * huge_page_bytes, "a test");
  EXPECT_EQ(present_pages(mapping.data(), mapping.size()), 0u);
}

TEST(Mapping, PopulatesTheHugePagesThatARangeLiesInAndNoOthers) {
  Mapping mapping(4 * huge_page_bytes, "a test");
  mapping.populate(huge_page_bytes + 5, huge_page_bytes);  // reaches into the third
  EXPECT_EQ(present_pages(mapping.data(), huge_page_bytes), 0u);
  EXPECT_EQ(present_pages(mapping.data() + huge_page_bytes, 2 * huge_page_bytes), 2 * huge_page_bytes / page_bytes);
  EXPECT_EQ(present_pages(mapping.data() + 3 * huge_page_bytes, huge_page_bytes), 0u);
}

TEST(Mapping, PopulatingKeepsWhatIsThereAndEndsWithTheMapping) {
  Mapping mapping(huge_page_bytes + page_bytes, "a test");
  mapping.data()[7] = std::byte{7};
  mapping.populate(0, 10 * huge_page_bytes);
  EXPECT_EQ(mapping.data()[7], std::byte{7});
  EXPECT_EQ(present_pages(mapping.data(), mapping.size()), mapping.size() / page_bytes);
}

TEST(Mapping, MovesAndIsUnmappedOnce) {
  Mapping first(page_bytes, "a test");
  std::byte* const data = first.data();
  Mapping second(std::move(first));
  EXPECT_EQ(second.data(), data);
  Mapping third;
  third = std::move(second);
  EXPECT_EQ(third.data(), data);
  EXPECT_EQ(third.size(), page_bytes);
}

TEST(Mapping, SaysWhatItWasForWhereItIsRefused) {
  for (const std::uint64_t bytes : {UINT64_MAX, std::uint64_t{1} << 61}) {
    try {
      const Mapping mapping(bytes, "tensors");
      FAIL() << bytes << " bytes were mapped";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
      EXPECT_THAT(error.what(), testing::HasSubstr("for tensors were refused: Cannot allocate memory"));
    }
  }
}

// In a child: whether the mapping is there, whose eighth byte is 7. A child whose sanitizer maps
// memory of its own may have that in its place.
bool child_has(const Mapping& mapping) {
  const pid_t child = fork();
  if (child == 0) {
    unsigned char page = 0;
    if (mincore(mapping.data(), page_bytes, &page) != 0) _exit(errno == ENOMEM ? 1 : 2);
    _exit(mapping.data()[7] == std::byte{7} ? 0 : 1);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) < 2) << status;
  return status == 0;
}

TEST(Mapping, IsKeptFromForksWhereAsked) {
  Mapping mapping(2 * huge_page_bytes, "a test");
  mapping.data()[7] = std::byte{7};
  EXPECT_TRUE(child_has(mapping));
  mapping.keep_from_fork(true);
  EXPECT_FALSE(child_has(mapping));
  Mapping moved = std::move(mapping);
  EXPECT_FALSE(child_has(moved));
  moved.keep_from_fork(false);
  EXPECT_TRUE(child_has(moved));
  EXPECT_EQ(moved.data()[7], std::byte{7});
  Mapping().keep_from_fork(true);
}

constexpr std::uint64_t gib = 1ull << 30;

// A machine with 64 GiB to be had, and whatever control groups a test gives it.
class ControlGroups : public testing::Test {
 protected:
  ControlGroups() { write("proc/meminfo", "MemTotal: 99999999 kB\nMemFree: 5 kB\nMemAvailable:   67108864 kB\n"); }

  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = folder_.path() / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void is_in(const std::string& lines) { write("proc/self/cgroup", lines); }
  /// What is used beside the page cache is 1 GiB.
  void group(const std::string& path, std::uint64_t limit, std::uint64_t inactive, std::uint64_t active,
             std::uint64_t slab = 0, std::uint64_t shmem = 0) {
    const std::string folder = "sys/fs/cgroup" + path;
    write(folder + "/memory.max", limit == 0 ? "max\n" : std::to_string(limit) + '\n');
    write(folder + "/memory.current", std::to_string(gib + inactive + active + slab + shmem) + '\n');
    write(folder + "/memory.stat",
          fmt::format("anon {}\nfile {}\nshmem {}\ninactive_anon {}\nactive_anon 0\n"
                      "inactive_file {}\nactive_file {}\nslab_reclaimable {}\n"
                      "slab_unreclaimable 0\nslab {}\n",
                      gib, inactive + active + shmem, shmem, gib + shmem, inactive, active, slab, slab));
  }
  void group_of_version_1(const std::string& path, std::uint64_t limit, std::uint64_t inactive, std::uint64_t active) {
    const std::string folder = "sys/fs/cgroup/memory" + path;
    write(folder + "/memory.limit_in_bytes", std::to_string(limit) + '\n');
    write(folder + "/memory.usage_in_bytes", std::to_string(gib + inactive + active) + '\n');
    // What is not "total" is of the group without those below it.
    write(folder + "/memory.stat",
          fmt::format("inactive_file 0\nactive_file 0\nhierarchical_memory_limit {}\ntotal_cache {}\n"
                      "total_inactive_file {}\ntotal_active_file {}\n",
                      limit, inactive + active, inactive, active));
  }
  std::uint64_t available() const { return available_memory_bytes(folder_.path().string()); }

  TemporaryFolder folder_;
};

TEST_F(ControlGroups, AreNotNeeded) {
  EXPECT_EQ(available(), 64 * gib);
  is_in("0::/\n");
  EXPECT_EQ(available(), 64 * gib);
  is_in("nonsense\n12\n3:\n0::\n1:name=systemd:/x\n");
  EXPECT_EQ(available(), 64 * gib);
}

TEST_F(ControlGroups, LeaveWhatTheirLimitAndTheirUseSay) {
  is_in("0::/a\n");
  group("/a", 4 * gib, 0, 0);
  EXPECT_EQ(available(), 3 * gib);
  group("/a", 0, 0, 0);
  EXPECT_EQ(available(), 64 * gib) << "without a limit";
  group("/a", 100 * gib, 0, 0);
  EXPECT_EQ(available(), 64 * gib) << "with a limit above the machine";
  group("/a", gib / 2, 0, 0);
  EXPECT_EQ(available(), 0u) << "above their limit";
}

TEST_F(ControlGroups, CanDropTheirPageCacheHoweverLatelyItWasUsed) {
  is_in("0::/a\n");
  group("/a", 4 * gib, 3 * gib, 0);
  EXPECT_EQ(available(), 3 * gib);
  group("/a", 4 * gib, 0, 3 * gib);
  EXPECT_EQ(available(), 3 * gib);
  group("/a", 4 * gib, gib, gib, gib);
  EXPECT_EQ(available(), 3 * gib) << "with reclaimable slab";
}

TEST_F(ControlGroups, CannotDropMemoryOfTmpfs) {
  is_in("0::/a\n");
  group("/a", 4 * gib, gib, 0, 0, gib);
  EXPECT_EQ(available(), 2 * gib);
}

TEST_F(ControlGroups, CountTheTightestOfThoseThatAreNested) {
  is_in("0::/a/b/c\n");
  group("/a", 8 * gib, gib, gib);
  group("/a/b", 3 * gib, 0, gib);
  group("/a/b/c", 5 * gib, gib, 0);
  EXPECT_EQ(available(), 2 * gib);
  group("/a", 2 * gib, 0, 0);
  EXPECT_EQ(available(), 1 * gib);
}

TEST_F(ControlGroups, AreMountedAtTheTopInAContainer) {
  group("", 4 * gib, 0, gib);
  is_in("0::/\n");
  EXPECT_EQ(available(), 3 * gib);
  is_in("0::/docker/0123456789abcdef\n");  // the host's path, of which nothing is mounted here
  EXPECT_EQ(available(), 3 * gib);
  is_in("0::/../sibling\n");
  EXPECT_EQ(available(), 3 * gib);
}

TEST_F(ControlGroups, OfVersion1CountAlike) {
  is_in("12:cpuset:/\n4:memory:/a/b\n1:name=systemd:/a/b\n0::/\n");
  group_of_version_1("/a/b", 4 * gib, gib, gib);
  EXPECT_EQ(available(), 3 * gib);
  group_of_version_1("/a", 3 * gib, 0, gib);
  EXPECT_EQ(available(), 2 * gib);
  group_of_version_1("", std::uint64_t{9223372036854771712u}, 0, 0);
  EXPECT_EQ(available(), 2 * gib);
  is_in("4:memory:/docker/0123456789abcdef\n");
  group_of_version_1("", 4 * gib, gib, gib);
  EXPECT_EQ(available(), 3 * gib);
}

TEST_F(ControlGroups, OfVersion1MayShareTheirMountWithOtherControllers) {
  is_in("4:hugetlb,memory:/a\n");
  group_of_version_1("/a", 4 * gib, 0, 0);
  EXPECT_EQ(available(), 3 * gib);
}

TEST(AvailableMemory, IsUnknownWhereTheSystemDoesNotSay) {
  const TemporaryFolder folder;
  EXPECT_EQ(available_memory_bytes(folder.path().string()), UINT64_MAX);
}

TEST(AvailableMemory, IsNotMoreThanTheMachineHas) {
  const auto machine = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * page_bytes;
  EXPECT_GT(available_memory_bytes(), 0u);
  EXPECT_LE(available_memory_bytes(), machine);
}

TEST(PeakResidentBytes, CountsWhatWasOnceThere) {
  constexpr std::uint64_t bytes = 16 * huge_page_bytes;
  {
    Mapping mapping(bytes, "a test");
    mapping.populate(0, bytes);
  }
  EXPECT_GE(peak_resident_bytes(), bytes);
}

}  // namespace
}  // namespace sluice
