// Equipment: what an engine keeps from load to load, so that the next one finds it warm: threads, ring, slabs, devices.
// Each is made when it is first asked for, by a load or ahead of it by prepare(). Threads: the engine's only, from the
// constructor to the destructor: an io_uring belongs to the thread that made it. Whatever may call a driver is done by
// others meanwhile: opening devices and pinning by workers, closing by threads of their own.
#pragma once

#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "loader/base/mutex.hpp"
#include "loader/base/wakeup.hpp"
#include "loader/base/workers.hpp"
#include "loader/device/device.hpp"
#include "loader/engine/staging.hpp"
#include "loader/read/file_asker.hpp"
#include "loader/read/reader.hpp"
#include "sluice/options.hpp"

namespace sluice {

class Equipment {
 public:
  /// Makes nothing yet. `options` are resolved. `wakeup` is notified by all that works for a load.
  Equipment(const Options& options, std::shared_ptr<Wakeup> wakeup);
  ~Equipment();
  Equipment(const Equipment&) = delete;
  Equipment& operator=(const Equipment&) = delete;

  const Options& options() const noexcept { return options_; }
  Wakeup& wakeup() const noexcept { return *wakeup_; }
  const std::shared_ptr<Wakeup>& shared_wakeup() const noexcept { return wakeup_; }

  /// Makes what loads to `devices` will need. Devices warm up, and slabs are pinned, by the workers when this has
  /// returned. While it waits for drivers, it returns as soon as `interrupted`, of which the wakeup is notified:
  /// whoever comes next finds them on their way. What is refused is no error yet: the load that needs it meets it
  /// again.
  void prepare(std::span<const DeviceId> devices, const std::function<bool()>& interrupted) noexcept;

  /// Throws Error{system}.
  Workers& workers();
  /// Throws Error{system}.
  FileAsker& file_asker();
  /// As FileAsker's `before_each`: for tests. REQUIRES: there is no asker yet.
  void before_each_question(std::function<void()> call) { before_question_ = std::move(call); }
  /// Throws Error{reader_unavailable}.
  Reader& reader();
  /// Takes the place of the reader that the options ask for: for tests, which decide how storage behaves. REQUIRES:
  /// none has been made.
  void use_reader(std::unique_ptr<Reader> reader);
  /// Takes the place of a device: for tests. REQUIRES: that device has not been opened.
  void use_device(std::shared_ptr<Device> device);

  /// Takes the place of open_device(): for tests, whose devices take their time. REQUIRES: none has been opened.
  using OpenDevice = std::function<std::shared_ptr<Device>(DeviceId, Workers&)>;
  void use_opener(OpenDevice opener) { open_device_ = std::move(opener); }

  /// Opens those that are not open yet; those that need a driver are on their way when this returns, each on a worker,
  /// and the wakeup is notified when one is open, or refused.
  void begin_to_open(std::span<const DeviceId> devices);
  /// The device, if it is open; nullptr: not yet. Throws its Error{device_unavailable}, once: then it may be opened
  /// anew.
  std::shared_ptr<Device> find_open(DeviceId id);

  /// Bytes of slabs that have been in use, and so are there.
  std::uint64_t used_staging_bytes() const noexcept;
  /// At least `slabs` slabs, as far as the options allow; nullptr for none. Where one of `devices` is open and needs
  /// them pinned, they are, or will be soon. REQUIRES: no slab is out. Throws what SlabMemory throws.
  Staging* staging(std::uint64_t slabs, std::span<const DeviceId> devices);
  /// Has slabs pinned for a device that was opened after they were made: slabs are in use meanwhile.
  void pin_staging(const std::shared_ptr<Pinner>& pinner);
  /// As Staging::allocate(): slabs in the place of those of which none could be pinned. REQUIRES: nothing is in flight.
  /// Where it throws there are none.
  void allocate_staging();

  /// What was refused while all this was made; every load tells it.
  const std::vector<Fallback>& fallbacks() const noexcept { return fallbacks_; }

  /// The ring broke while reads were in flight: closing it lets the kernel keep the pages that it may still write to.
  /// The next load makes reader and slabs anew.
  void discard_reader_and_slabs() noexcept;

 private:
  /// A device on its way. Not a std::future: the worker could be the last to release the exception while a caller still
  /// reads it.
  struct Opening {
    Mutex mutex;
    std::shared_ptr<Device> device SLUICE_GUARDED_BY(mutex);  // or
    std::exception_ptr error SLUICE_GUARDED_BY(mutex);
  };

  void open(DeviceId id, Workers& workers, Opening& opening) const noexcept;
  std::vector<std::shared_ptr<Device>> wait_for_devices(std::span<const DeviceId> ids,
                                                        const std::function<bool()>& interrupted);
  std::shared_ptr<Pinner> find_pinner(std::span<const DeviceId> ids) const;
  void name_slabs();

  const Options options_;
  const std::shared_ptr<Wakeup> wakeup_;
  OpenDevice open_device_ = open_device;
  std::vector<Fallback> fallbacks_;
  std::unique_ptr<Workers> workers_;
  std::function<void()> before_question_;
  std::unique_ptr<FileAsker> file_asker_;
  std::unique_ptr<Staging> staging_;
  std::map<DeviceId, std::shared_ptr<Device>> devices_;
  std::map<DeviceId, std::shared_ptr<Opening>> opening_;
  std::unique_ptr<Reader> reader_;  // last: it goes first, before the slabs that are registered with it
};

}  // namespace sluice
