// The part of the CUDA driver API that sluice uses, declared here so that neither building nor running needs a toolkit.
// Names, numbers and the meaning of each call are those of the "CUDA Driver API" reference manual; the binary interface
// is the same on x86_64 and aarch64. One name has had several signatures over the years, so each row of the table below
// says which one it means, by the symbol that holds it and by the first CUDA version that has it.
#pragma once

#include <cstddef>
#include <cstdint>

struct CUstream_st;  // as public headers name it

namespace sluice::cu {

/// CUresult. Drivers may return numbers that are not listed here.
enum class Result : int {
  success = 0,
  invalid_value = 1,
  out_of_memory = 2,
  not_initialized = 3,
  deinitialized = 4,
  stub_library = 34,
  device_unavailable = 46,
  no_device = 100,
  invalid_device = 101,
  invalid_image = 200,
  invalid_context = 201,
  no_binary_for_gpu = 209,
  ecc_uncorrectable = 214,
  invalid_ptx = 218,
  jit_compiler_not_found = 221,
  unsupported_ptx_version = 222,
  jit_compilation_disabled = 223,
  operating_system = 304,
  invalid_handle = 400,
  illegal_state = 401,
  not_found = 500,
  not_ready = 600,
  illegal_address = 700,
  launch_out_of_resources = 701,
  launch_timeout = 702,
  context_is_destroyed = 709,
  host_memory_already_registered = 712,
  host_memory_not_registered = 713,
  hardware_stack_error = 714,
  illegal_instruction = 715,
  misaligned_address = 716,
  invalid_address_space = 717,
  invalid_pc = 718,
  launch_failed = 719,
  not_permitted = 800,
  not_supported = 801,
  system_not_ready = 802,
  system_driver_mismatch = 803,
  compat_not_supported_on_device = 804,
  mps_connection_failed = 805,
  mps_rpc_failure = 806,
  mps_server_not_ready = 807,
  mps_max_clients_reached = 808,
  mps_max_connections_reached = 809,
  mps_client_terminated = 810,
  stream_capture_unsupported = 900,
  stream_capture_invalidated = 901,
  stream_capture_isolation = 905,
  stream_capture_implicit = 906,
  captured_event = 907,
  stream_capture_wrong_thread = 908,
  unknown = 999,
};

using Device = int;                   // CUdevice
using DevicePointer = std::uint64_t;  // CUdeviceptr
using Context = struct ContextHandle*;
using Stream = ::CUstream_st*;
using Event = struct EventHandle*;
using Module = struct ModuleHandle*;
using Function = struct FunctionHandle*;
using Library = struct LibraryHandle*;
using Kernel = struct KernelHandle*;  // may be cast to Function for a launch

struct Uuid {  // CUuuid
  unsigned char bytes[16];
};

enum class DeviceAttribute : int {
  max_pitch = 11,
  multiprocessor_count = 16,
  integrated = 18,
  pci_bus_id = 33,
  pci_device_id = 34,
  async_engine_count = 40,
  unified_addressing = 41,
  pci_domain_id = 50,
  compute_capability_major = 75,
  compute_capability_minor = 76,
  pageable_memory_access = 88,
  host_register_supported = 99,
  pageable_memory_access_uses_host_page_tables = 100,
  virtual_memory_management_supported = 102,
  handle_type_posix_file_descriptor_supported = 103,
  gpu_direct_rdma_with_cuda_vmm_supported = 110,
};

enum class PointerAttribute : int {
  context = 1,
  memory_type = 2,
  device_pointer = 3,
  device_ordinal = 9,
  range_start = 11,  // of mapped memory: of all the addresses that were reserved together, mapped or not
  range_size = 12,
  mapped = 13,  // a boolean, of which the manual gives no size: in an int that was 0
};

enum class MemoryType : unsigned { host = 1, device = 2, array = 3, unified = 4 };

/// What a pitch may be on all GPUs (cuda.h: CU_DEVICE_ATTRIBUTE_MAX_PITCH; 2^31 - 1 from compute capability 2.0 on).
inline constexpr std::uint64_t pitch_max = 0x7fff'ffff;

/// CUDA_MEMCPY2D_v2 of cuda.h, in its order. A row begins at `host` or `device`, + y * pitch + x_bytes; fields for
/// other types of memory are ignored.
struct Copy2D {
  std::size_t source_x_bytes = 0;
  std::size_t source_y = 0;
  MemoryType source_type{};
  const void* source_host = nullptr;
  DevicePointer source_device = 0;
  void* source_array = nullptr;
  std::size_t source_pitch = 0;
  std::size_t target_x_bytes = 0;
  std::size_t target_y = 0;
  MemoryType target_type{};
  void* target_host = nullptr;
  DevicePointer target_device = 0;
  void* target_array = nullptr;
  std::size_t target_pitch = 0;
  std::size_t width_bytes = 0;
  std::size_t height = 0;
};
static_assert(sizeof(Copy2D) == 128 && offsetof(Copy2D, target_x_bytes) == 56 && offsetof(Copy2D, width_bytes) == 112);

// Virtual memory management, by the types of cuda.h whose names stand beside them: memory is created, at no address;
// addresses are reserved; the one is mapped at the other; and then devices get access to it.
using MemoryHandle = std::uint64_t;  // CUmemGenericAllocationHandle
enum class LocationType : int { device = 1 };
enum class AllocationType : int { pinned = 1 };
enum class HandleType : int { none = 0, posix_file_descriptor = 1 };  // bits
enum class Granularity : int { minimum = 0, recommended = 1 };
enum class Access : int { none = 0, read = 1, read_write = 3 };

struct MemoryLocation {  // CUmemLocation_v1
  LocationType type = LocationType::device;
  int id = 0;  // a device's ordinal
};

struct MemoryProperties {  // CUmemAllocationProp_v1
  AllocationType type = AllocationType::pinned;
  HandleType handle_types = HandleType::none;  // as which the memory may be exported; nothing can be added later
  MemoryLocation location;
  void* windows_only = nullptr;
  unsigned char compression = 0;
  unsigned char gpu_direct_rdma_capable = 0;
  unsigned short usage = 0;
  unsigned char reserved[4] = {};
};
static_assert(sizeof(MemoryProperties) == 32 && offsetof(MemoryProperties, gpu_direct_rdma_capable) == 25);

struct MemoryAccess {  // CUmemAccessDesc_v1
  MemoryLocation location;
  Access flags = Access::none;
};
static_assert(sizeof(MemoryAccess) == 12);

/// CUstreamCaptureMode. While a stream captures a graph, some threads may not make calls that could spoil it: those
/// that allocate, pin, wait. Which threads, the mode of the capture and that of each thread say; both are `global` by
/// default.
enum class CaptureMode : int {
  global = 0,      // the capture forbids it to all threads; the thread obeys all captures
  per_thread = 1,  // to the thread that captures; the thread obeys captures of its own
  relaxed = 2,     // to nobody; the thread obeys none
};

enum class CaptureStatus : int { none = 0, active = 1, invalidated = 2 };  // CUstreamCaptureStatus

inline constexpr unsigned stream_non_blocking = 1;     // CU_STREAM_NON_BLOCKING
inline constexpr unsigned event_blocking_sync = 1;     // CU_EVENT_BLOCKING_SYNC
inline constexpr unsigned event_disable_timing = 2;    // CU_EVENT_DISABLE_TIMING
inline constexpr unsigned host_register_portable = 1;  // CU_MEMHOSTREGISTER_PORTABLE
inline constexpr unsigned host_alloc_portable = 1;     // CU_MEMHOSTALLOC_PORTABLE

// Flags and answers of cuGetProcAddress.
inline constexpr std::uint64_t proc_address_legacy_stream = 1;
enum class ProcAddressStatus : int { found = 0, symbol_not_found = 1, version_not_sufficient = 2 };
using GetProcAddress = Result (*)(const char* name, void** entry, int version, std::uint64_t flags);  // 11.3 to 11.8
using GetProcAddressV2 = Result (*)(const char* name, void** entry, int version, std::uint64_t flags,
                                    ProcAddressStatus* status);  // from 12.0 on

/// One row per call: the name that cuGetProcAddress knows, the symbol, the CUDA version (1000 x major + 10 x minor)
/// that it was written against, and the arguments. All return a Result. Calls that a driver may lack come last, as
/// `optional`.
// clang-format off
#define SLUICE_CUDA_CALLS(required, optional)                                                                          \
  required(cuInit, cuInit, 2000, (unsigned flags))                                                                     \
  required(cuDriverGetVersion, cuDriverGetVersion, 2020, (int* version))                                               \
  required(cuGetErrorName, cuGetErrorName, 6000, (Result result, const char** name))                                   \
  required(cuGetErrorString, cuGetErrorString, 6000, (Result result, const char** text))                               \
  required(cuDeviceGetCount, cuDeviceGetCount, 2000, (int* count))                                                     \
  required(cuDeviceGet, cuDeviceGet, 2000, (Device* device, int ordinal))                                              \
  required(cuDeviceGetName, cuDeviceGetName, 2000, (char* name, int bytes, Device device))                             \
  required(cuDeviceGetPCIBusId, cuDeviceGetPCIBusId, 4010, (char* id, int bytes, Device device))                       \
  required(cuDeviceGetAttribute, cuDeviceGetAttribute, 2000, (int* value, DeviceAttribute attribute, Device device))   \
  required(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, 7000, (Context* context, Device device))                \
  required(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, 11000, (Device device))                            \
  required(cuCtxSetCurrent, cuCtxSetCurrent, 4000, (Context context))                                                  \
  required(cuCtxGetCurrent, cuCtxGetCurrent, 4000, (Context* context))                                                 \
  required(cuCtxPushCurrent, cuCtxPushCurrent_v2, 4000, (Context context))                                             \
  required(cuCtxPopCurrent, cuCtxPopCurrent_v2, 4000, (Context* context))                                              \
  required(cuCtxSynchronize, cuCtxSynchronize, 2000, ())                                                               \
  required(cuModuleLoadData, cuModuleLoadData, 2000, (Module* module, const void* image))                              \
  required(cuModuleUnload, cuModuleUnload, 2000, (Module module))                                                      \
  required(cuModuleGetFunction, cuModuleGetFunction, 2000, (Function* function, Module module, const char* name))      \
  required(cuMemGetInfo, cuMemGetInfo_v2, 3020, (std::size_t* free_bytes, std::size_t* total_bytes))                   \
  required(cuMemAlloc, cuMemAlloc_v2, 3020, (DevicePointer* pointer, std::size_t bytes))                               \
  required(cuMemFree, cuMemFree_v2, 3020, (DevicePointer pointer))                                                     \
  required(cuMemHostAlloc, cuMemHostAlloc, 2020, (void** memory, std::size_t bytes, unsigned flags))                   \
  required(cuMemFreeHost, cuMemFreeHost, 2000, (void* memory))                                                         \
  required(cuMemHostRegister, cuMemHostRegister_v2, 6050, (void* memory, std::size_t bytes, unsigned flags))           \
  required(cuMemHostUnregister, cuMemHostUnregister, 4000, (void* memory))                                             \
  required(cuPointerGetAttribute, cuPointerGetAttribute, 4000,                                                         \
           (void* value, PointerAttribute attribute, DevicePointer pointer))                                           \
  required(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, 3020,                                                              \
           (DevicePointer target, const void* source, std::size_t bytes, Stream stream))                               \
  required(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, 3020,                                                              \
           (void* target, DevicePointer source, std::size_t bytes, Stream stream))                                     \
  required(cuMemcpyDtoH, cuMemcpyDtoH_v2, 3020, (void* target, DevicePointer source, std::size_t bytes))               \
  required(cuMemcpy2DAsync, cuMemcpy2DAsync_v2, 3020, (const Copy2D* copy, Stream stream))                             \
  required(cuMemsetD8Async, cuMemsetD8Async, 3020,                                                                     \
           (DevicePointer target, unsigned char value, std::size_t bytes, Stream stream))                              \
  required(cuMemsetD2D8Async, cuMemsetD2D8Async, 3020,                                                                 \
           (DevicePointer target, std::size_t pitch, unsigned char value, std::size_t width, std::size_t height,       \
            Stream stream))                                                                                            \
  required(cuStreamCreate, cuStreamCreate, 2000, (Stream* stream, unsigned flags))                                     \
  required(cuStreamDestroy, cuStreamDestroy_v2, 4000, (Stream stream))                                                 \
  required(cuStreamSynchronize, cuStreamSynchronize, 2000, (Stream stream))                                            \
  required(cuStreamQuery, cuStreamQuery, 2000, (Stream stream))                                                        \
  required(cuStreamGetCtx, cuStreamGetCtx, 9020, (Stream stream, Context* context))                                    \
  required(cuStreamWaitEvent, cuStreamWaitEvent, 3020, (Stream stream, Event event, unsigned flags))                   \
  required(cuStreamIsCapturing, cuStreamIsCapturing, 10000, (Stream stream, CaptureStatus* status))                    \
  required(cuThreadExchangeStreamCaptureMode, cuThreadExchangeStreamCaptureMode, 10010, (CaptureMode* mode))           \
  required(cuEventCreate, cuEventCreate, 2000, (Event* event, unsigned flags))                                         \
  required(cuEventDestroy, cuEventDestroy_v2, 4000, (Event event))                                                     \
  required(cuEventRecord, cuEventRecord, 2000, (Event event, Stream stream))                                           \
  required(cuEventQuery, cuEventQuery, 2000, (Event event))                                                            \
  required(cuEventSynchronize, cuEventSynchronize, 2000, (Event event))                                                \
  required(cuEventElapsedTime, cuEventElapsedTime, 2000, (float* milliseconds, Event from, Event to))                  \
  required(cuLaunchKernel, cuLaunchKernel, 4000,                                                                       \
           (Function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,  \
            unsigned block_z, unsigned shared_bytes, Stream stream, void** arguments, void** extra))                   \
  optional(cuDeviceGetUuid, cuDeviceGetUuid_v2, 11040, (Uuid* uuid, Device device))                                    \
  optional(cuStreamGetId, cuStreamGetId, 12000, (Stream stream, std::uint64_t* id))                                    \
  optional(cuMemGetAllocationGranularity, cuMemGetAllocationGranularity, 10020,                                        \
           (std::size_t* bytes, const MemoryProperties* properties, Granularity which))                                \
  optional(cuMemAddressReserve, cuMemAddressReserve, 10020,                                                            \
           (DevicePointer* pointer, std::size_t bytes, std::size_t alignment, DevicePointer hint,                      \
            std::uint64_t flags))                                                                                      \
  optional(cuMemAddressFree, cuMemAddressFree, 10020, (DevicePointer pointer, std::size_t bytes))                      \
  optional(cuMemCreate, cuMemCreate, 10020,                                                                            \
           (MemoryHandle* memory, std::size_t bytes, const MemoryProperties* properties, std::uint64_t flags))         \
  optional(cuMemRelease, cuMemRelease, 10020, (MemoryHandle memory))                                                   \
  optional(cuMemMap, cuMemMap, 10020,                                                                                  \
           (DevicePointer pointer, std::size_t bytes, std::size_t offset, MemoryHandle memory, std::uint64_t flags))   \
  optional(cuMemUnmap, cuMemUnmap, 10020, (DevicePointer pointer, std::size_t bytes))                                  \
  optional(cuMemSetAccess, cuMemSetAccess, 10020,                                                                      \
           (DevicePointer pointer, std::size_t bytes, const MemoryAccess* access, std::size_t count))                  \
  optional(cuMemExportToShareableHandle, cuMemExportToShareableHandle, 10020,                                          \
           (void* shareable, MemoryHandle memory, HandleType type, std::uint64_t flags))                               \
  optional(cuLibraryLoadData, cuLibraryLoadData, 12000,                                                                \
           (Library* library, const void* image, int* jit_options, void** jit_values, unsigned jit_count,              \
            int* library_options, void** library_values, unsigned library_count))                                      \
  optional(cuLibraryUnload, cuLibraryUnload, 12000, (Library library))                                                 \
  optional(cuLibraryGetKernel, cuLibraryGetKernel, 12000, (Kernel* kernel, Library library, const char* name))
// clang-format on

/// One pointer per row; optional ones are nullptr where the driver lacks the call.
struct Calls {
  template <typename Signature>
  using Pointer = Signature*;
#define SLUICE_CUDA_POINTER(name, symbol, since, arguments) Pointer<Result arguments> name = nullptr;
  SLUICE_CUDA_CALLS(SLUICE_CUDA_POINTER, SLUICE_CUDA_POINTER)
#undef SLUICE_CUDA_POINTER
};

}  // namespace sluice::cu
