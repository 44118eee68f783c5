// sluice in C11: all that the C++ headers beside this one offer, for programs in C and for languages that call C. What
// is said there of the nouns holds here; docs/c.md begins with a program of ten lines.
//
// Handles. A type without members is a handle. A function that makes one writes it to its last parameter but the error,
// and it is given back by the function ..._free(), once, in any order: handles keep what they need of each other.
// ..._free(NULL) does nothing. Rules, destinations, the slices of a rule and the errors of findings are parts of
// another handle: they are not freed, and are gone with it.
//
// Errors. A function returns 0, or one of enum sluice_code, and then *error tells more: message, place and what to do.
// `error` may be NULL. *error is written by every call, with NULL where it succeeded, and is the caller's to free.
// Where there is no memory even for the error, *error is NULL, and the code has to do. A call that fails writes NULL to
// the handle that it was to make, and nothing to what else it was to write. Wrong arguments are errors:
// SLUICE_INVALID_ARGUMENT for a NULL that is not allowed, an index beyond the end, a number that no enum has, a struct
// of a wrong size. What no function can see is a pointer to memory that is not there. Any call may return
// SLUICE_OUT_OF_MEMORY, and SLUICE_SYSTEM for what no other code says. No C++ exception leaves the library, and nothing
// is printed. Functions that cannot fail return what they have to say, and take NULL for a handle that says nothing.
//
// Strings are UTF-8 with a length, for a name may hold any character: sluice_str("...") makes one of a C string.
// Strings that are passed in are copied. Strings that come out belong to the handle they came from, never change, and
// need not be followed by a zero; a `const char*` is.
//
// Structs that may grow begin with their size: sluice_options options = SLUICE_INIT(sluice_options); makes one that is
// all zero but for that. What a caller passes in may be shorter than the library knows, if its headers are older: what
// is missing is 0, which always stands for the default. It may be longer, if what the library does not know is 0. What
// the library writes ends at the size that the caller gave; what the library does not know is written as 0. The structs
// of an array all have the size of the first. Without a size are those that never change: sluice_string, sluice_device
// and sluice_variable.
//
// Dtypes, devices, codes and what else is counted by an enum are integers of 32 bits. Later versions may know more of
// each: expect numbers that are not listed here in what you read.
//
// Waits. A timeout is in nanoseconds; a negative one waits as long as it takes, 0 only looks. That time is up is no
// error: a wait says through `done`, which may be NULL for a wait without end, whether what it waited for is there. The
// library calls nobody back: for an event loop each load has a descriptor.
//
// Threads. A handle that is passed as const, or of which it is said, may be used from any number of threads at a time;
// all others from one at a time. ..._free() may be called on any thread, after all other uses. A thread must not be
// cancelled (pthread_cancel) inside a call. After fork() the child may free what its parent made, but starts nothing
// with its parent's engines.
//
// Versions. Before 1.0 every minor version may change this interface, and the soname changes with it. Functions,
// numbers, and sizes and offsets of structs are pinned by tests.
#ifndef SLUICE_SLUICE_H_
#define SLUICE_SLUICE_H_

#include <stddef.h>
#include <stdint.h>
#include <string.h>

// As sluice/export.hpp says.
#if defined(SLUICE_STATIC)
#define SLUICE_API
#else
#define SLUICE_API __attribute__((visibility("default")))
#endif

#define SLUICE_VERSION_MAJOR 0
#define SLUICE_VERSION_MINOR 1
#define SLUICE_VERSION_PATCH 0
#define SLUICE_VERSION (SLUICE_VERSION_MAJOR * 10000 + SLUICE_VERSION_MINOR * 100 + SLUICE_VERSION_PATCH)

// A struct that is all zero but for its size.
#ifdef __cplusplus
template <typename Struct>
inline Struct sluice_init() {
  Struct made = {};
  made.size = static_cast<uint32_t>(sizeof made);
  return made;
}
#define SLUICE_INIT(type) sluice_init<type>()
extern "C" {
#else
#define SLUICE_INIT(type) \
  { .size = (uint32_t)sizeof(type) }
#endif

// DLPack's own, of its header dlpack.h.
struct DLManagedTensor;
struct DLManagedTensorVersioned;

typedef struct sluice_error sluice_error;
typedef struct sluice_text sluice_text;
typedef struct sluice_checkpoint sluice_checkpoint;
typedef struct sluice_slice sluice_slice;
typedef struct sluice_request sluice_request;
typedef struct sluice_rule sluice_rule;
typedef struct sluice_destination sluice_destination;
typedef struct sluice_findings sluice_findings;
typedef struct sluice_plan sluice_plan;
typedef struct sluice_engine sluice_engine;
typedef struct sluice_load sluice_load;
typedef struct sluice_kept sluice_kept;
typedef struct sluice_trace sluice_trace;

/// Waits as long as it takes.
#define SLUICE_FOREVER ((int64_t)-1)

// --- strings ---------------------------------------------------------------------------------------------------------

/// `bytes` characters at `data`, which may be NULL where there are none.
typedef struct sluice_string {
  const char* data;
  size_t bytes;
} sluice_string;

/// All of a C string; nothing of NULL.
static inline sluice_string sluice_str(const char* text) {
  sluice_string string;
  string.data = text;
  string.bytes = text == NULL ? 0 : strlen(text);
  return string;
}

/// A text that the library made, followed by a zero. Any thread may read it.
SLUICE_API sluice_string sluice_text_string(const sluice_text* text);
SLUICE_API void sluice_text_free(sluice_text* text);

// --- version ---------------------------------------------------------------------------------------------------------

/// SLUICE_VERSION of the library that runs.
SLUICE_API uint32_t sluice_version(void);

// --- errors ----------------------------------------------------------------------------------------------------------

/// As sluice/error.hpp numbers them.
enum sluice_code {
  SLUICE_OK = 0,
  SLUICE_INVALID_ARGUMENT = 1,     // an invalid request, option or name, or what the head of this file calls wrong
  SLUICE_NOT_FOUND = 2,            // no such file or folder
  SLUICE_IO = 3,                   // the system refused to open, read or stat
  SLUICE_BAD_HEADER = 4,           // the header of a shard is not valid safetensors
  SLUICE_BAD_INDEX = 5,            // a *.safetensors.index.json is not valid or does not fit its shards
  SLUICE_UNSUPPORTED_FORMAT = 6,   // another format: pickle, GGUF, ONNX, zip; a dtype that DLPack has not
  SLUICE_LIMIT_EXCEEDED = 7,       // a limit of sluice/limits.hpp was passed
  SLUICE_TENSOR_NOT_FOUND = 8,     // the checkpoint or the load has no such tensor
  SLUICE_FILE_CHANGED = 9,         // a shard was truncated, replaced or written to after it was opened
  SLUICE_OUT_OF_MEMORY = 10,       // less free memory than the plan needs, or an allocation was refused
  SLUICE_DEVICE_UNAVAILABLE = 11,  // no such device, or this build cannot drive it
  SLUICE_READER_UNAVAILABLE = 12,  // this machine refuses the reader that was asked for
  SLUICE_CANCELLED = 13,           // the load was cancelled, or its engine freed
  SLUICE_SYSTEM = 14,              // the system refused a thread, an eventfd or another resource
  SLUICE_INCOMPLETE = 15,          // a destination that rules do not fill or fill twice, or what a strict request lacks
  SLUICE_BAD_RULES = 16,           // a rules file says what it must not, or does not work out
                                   // 17 and 18 are reserved
};

/// "bad_header"; NULL for a number that is none.
SLUICE_API const char* sluice_code_name(int code);

/// Of an error, which any thread may read; of NULL: SLUICE_OK, nothing, 0.
SLUICE_API int sluice_error_code(const sluice_error* error);
/// All of it on one line, with control characters escaped.
SLUICE_API const char* sluice_error_text(const sluice_error* error);
/// What happened, without the place.
SLUICE_API sluice_string sluice_error_message(const sluice_error* error);
/// What to do about it; may be empty.
SLUICE_API sluice_string sluice_error_hint(const sluice_error* error);
/// The places that it can name, empty or 0 where they do not apply: a file, a tensor, and of a rules file line and
/// column, from 1 on.
SLUICE_API sluice_string sluice_error_path(const sluice_error* error);
SLUICE_API sluice_string sluice_error_tensor(const sluice_error* error);
SLUICE_API uint32_t sluice_error_line(const sluice_error* error);
SLUICE_API uint32_t sluice_error_column(const sluice_error* error);
/// Whether it names a byte of the file, counted from 0, and which.
SLUICE_API int sluice_error_offset(const sluice_error* error, uint64_t* offset);
SLUICE_API void sluice_error_free(sluice_error* error);

// --- dtypes ----------------------------------------------------------------------------------------------------------

/// As sluice/dtype.hpp numbers and describes them.
enum sluice_dtype {
  SLUICE_BOOL = 0,
  SLUICE_U8 = 1,
  SLUICE_I8 = 2,
  SLUICE_U16 = 3,
  SLUICE_I16 = 4,
  SLUICE_U32 = 5,
  SLUICE_I32 = 6,
  SLUICE_U64 = 7,
  SLUICE_I64 = 8,
  SLUICE_F16 = 9,
  SLUICE_BF16 = 10,
  SLUICE_F32 = 11,
  SLUICE_F64 = 12,
  SLUICE_C64 = 13,
  SLUICE_F8_E4M3 = 14,
  SLUICE_F8_E5M2 = 15,
  SLUICE_F8_E8M0 = 16,
  SLUICE_F8_E4M3FNUZ = 17,
  SLUICE_F8_E5M2FNUZ = 18,
  SLUICE_F6_E2M3 = 19,
  SLUICE_F6_E3M2 = 20,
  SLUICE_F4 = 21,
};

/// The name that safetensors spells: "BF16"; NULL for a number that is no dtype.
SLUICE_API const char* sluice_dtype_name(uint32_t dtype);
/// The dtype of a name as safetensors spells it. SLUICE_INVALID_ARGUMENT for any other.
SLUICE_API int sluice_dtype_parse(sluice_string name, uint32_t* dtype, sluice_error** error);
/// Bits of one element; the alignment in bytes that code reading elements expects; whether sluice casts from and to it.
/// 0 for a number that is no dtype.
SLUICE_API uint32_t sluice_dtype_bits(uint32_t dtype);
SLUICE_API uint32_t sluice_dtype_alignment(uint32_t dtype);
SLUICE_API int sluice_dtype_is_castable(uint32_t dtype);

// --- devices ---------------------------------------------------------------------------------------------------------

enum sluice_device_kind {
  SLUICE_HOST = 0,  // the process's own memory
  SLUICE_CUDA = 1,  // a CUDA GPU by the driver's ordinal
  SLUICE_NULL = 2,  // takes and forgets: to measure everything before it
  SLUICE_ANY = -1,  // where a tensor is looked for by its name: the first device that has it
};

typedef struct sluice_device {
  int32_t kind;     // enum sluice_device_kind
  int32_t ordinal;  // of CUDA GPUs; 0 for the others
} sluice_device;

static inline sluice_device sluice_device_of(int32_t kind, int32_t ordinal) {
  sluice_device device;
  device.kind = kind;
  device.ordinal = ordinal;
  return device;
}
static inline sluice_device sluice_host(void) {
  return sluice_device_of(SLUICE_HOST, 0);
}
static inline sluice_device sluice_cuda(int32_t ordinal) {
  return sluice_device_of(SLUICE_CUDA, ordinal);
}
static inline sluice_device sluice_null(void) {
  return sluice_device_of(SLUICE_NULL, 0);
}
static inline sluice_device sluice_any(void) {
  return sluice_device_of(SLUICE_ANY, 0);
}

/// "host", "null", "cuda:3".
SLUICE_API int sluice_device_name(sluice_device device, sluice_text** name, sluice_error** error);
/// The devices of a comma-separated list: "host", "cuda:0,cuda:1", "cuda:0,1". Writes the first `capacity` of them to
/// `devices`, and to *count how many there are. SLUICE_INVALID_ARGUMENT for anything else.
SLUICE_API int sluice_parse_devices(sluice_string list, sluice_device* devices, size_t capacity, size_t* count,
                                    sluice_error** error);

// --- options ---------------------------------------------------------------------------------------------------------

enum sluice_io {
  SLUICE_IO_AUTOMATIC = 0,  // cached bytes are copied out of the page cache, all others are read with O_DIRECT
  SLUICE_IO_DIRECT = 1,     // O_DIRECT wherever the file system allows it
  SLUICE_IO_BUFFERED = 2,   // never O_DIRECT: leaves the model in the page cache for the next process
};

enum sluice_reader {
  SLUICE_READER_AUTOMATIC = 0,  // the first that this machine allows: uring, pread
  SLUICE_READER_URING = 1,      // io_uring, or SLUICE_READER_UNAVAILABLE
  SLUICE_READER_PREAD = 2,      // threads that call pread
  SLUICE_READER_NULL = 3,       // reads nothing and says it did; what it delivers is noise
};

/// Of an engine, and of the plans that it runs: pass the same to both. sluice/options.hpp has the bounds.
typedef struct sluice_options {
  uint32_t size;
  uint32_t io;             // enum sluice_io
  uint32_t reader;         // enum sluice_reader
  uint32_t trace;          // not 0: each load keeps a trace
  uint32_t queue_depth;    // the most reads in flight at a time; 0: 32
  uint32_t threads;        // that cast, copy and touch memory; 0: one per processor, 16 at most
  uint64_t staging_bytes;  // the most host memory that slabs take together; 0: 128 MiB
  uint64_t slab_bytes;     // the most that one extent has; 0: 4 MiB, or less if staging is small
} sluice_options;

/// `options`, which may be NULL, with every 0 replaced by what it stands for. SLUICE_INVALID_ARGUMENT for values out of
/// bounds.
SLUICE_API int sluice_resolve(const sluice_options* options, sluice_options* resolved, sluice_error** error);
/// "auto", "direct", "buffered"; "auto", "uring", "pread", "null"; NULL for a number that is none.
SLUICE_API const char* sluice_io_name(uint32_t io);
SLUICE_API const char* sluice_reader_name(uint32_t reader);

// --- checkpoints -----------------------------------------------------------------------------------------------------

/// A tensor as it lies in its shard. Name and shape live as long as any checkpoint, plan or load of the catalogue.
typedef struct sluice_tensor_info {
  uint32_t size;
  uint32_t dtype;
  sluice_string name;
  const uint64_t* shape;  // row-major, outermost first
  uint32_t dimensions;    // 0 for a scalar
  uint32_t shard;
  uint64_t offset;  // in bytes from the beginning of the shard
  uint64_t bytes;
} sluice_tensor_info;

typedef struct sluice_shard {
  uint32_t size;
  uint32_t direct_memory_alignment;  // what statx says that O_DIRECT needs; 0 where it does not say
  uint32_t direct_offset_alignment;
  uint32_t metadata;  // how many pairs of strings the header's "__metadata__" has
  sluice_string path;
  uint64_t bytes;        // of the file
  uint64_t data_offset;  // where tensor data begin
} sluice_shard;

typedef struct sluice_checkpoint_info {
  uint32_t size;
  uint32_t shards;
  uint64_t tensors;
  uint64_t bytes;       // of all tensors together
  double open_seconds;  // wall-clock, and of the whole process's processors
  double open_cpu_seconds;
  sluice_string path;  // that it was opened by
} sluice_checkpoint_info;

/// Opens a shard, a folder of shards, a `*.safetensors.index.json`, or a snapshot folder of the Hugging Face cache:
/// reads and validates every header, on up to `threads` threads (0: as many as there are processors), and no tensor
/// data. SLUICE_NOT_FOUND, SLUICE_IO, SLUICE_BAD_HEADER, SLUICE_BAD_INDEX, SLUICE_UNSUPPORTED_FORMAT,
/// SLUICE_LIMIT_EXCEEDED. A checkpoint never changes; any number of threads may use it.
SLUICE_API int sluice_checkpoint_open(sluice_string path, uint32_t threads, sluice_checkpoint** checkpoint,
                                      sluice_error** error);
SLUICE_API void sluice_checkpoint_free(sluice_checkpoint* checkpoint);
SLUICE_API int sluice_checkpoint_describe(const sluice_checkpoint* checkpoint, sluice_checkpoint_info* info,
                                          sluice_error** error);
/// The tensor at `index`; they are sorted by shard, then by offset.
SLUICE_API int sluice_checkpoint_tensor(const sluice_checkpoint* checkpoint, uint64_t index, sluice_tensor_info* info,
                                        sluice_error** error);
/// The tensor of that name; *found says whether there is one. `info` may be NULL. O(1).
SLUICE_API int sluice_checkpoint_find(const sluice_checkpoint* checkpoint, sluice_string name, sluice_tensor_info* info,
                                      int* found, sluice_error** error);
SLUICE_API int sluice_checkpoint_shard(const sluice_checkpoint* checkpoint, uint32_t index, sluice_shard* shard,
                                       sluice_error** error);
/// The pair at `index` of a shard's metadata; they are sorted by name.
SLUICE_API int sluice_checkpoint_metadata(const sluice_checkpoint* checkpoint, uint32_t shard, uint32_t index,
                                          sluice_string* name, sluice_string* value, sluice_error** error);

// --- slices ----------------------------------------------------------------------------------------------------------

/// All that follow.
#define SLUICE_REST UINT64_MAX

/// A slice of everything: some elements of a tensor are what is said of it afterwards, as sluice/slice.hpp tells. NULL
/// in place of a slice is a slice of everything, too. A slice is checked by sluice_make_plan().
SLUICE_API int sluice_slice_new(sluice_slice** slice, sluice_error** error);
SLUICE_API int sluice_slice_copy(const sluice_slice* slice, sluice_slice** copy, sluice_error** error);
SLUICE_API void sluice_slice_free(sluice_slice* slice);
/// Sees the tensor with another shape of as many elements; what was cut before is forgotten.
SLUICE_API int sluice_slice_as(sluice_slice* slice, const uint64_t* shape, uint32_t dimensions, sluice_error** error);
/// Of a dimension the `count` indices from `begin` on; SLUICE_REST: all that follow.
SLUICE_API int sluice_slice_take(sluice_slice* slice, uint32_t dimension, uint64_t begin, uint64_t count,
                                 sluice_error** error);
/// Of a dimension one index. The dimension stays.
SLUICE_API int sluice_slice_at(sluice_slice* slice, uint32_t dimension, uint64_t index, sluice_error** error);
/// Of a dimension the `index`th of `parts` equal parts.
SLUICE_API int sluice_slice_part(sluice_slice* slice, uint32_t dimension, uint64_t index, uint64_t parts,
                                 sluice_error** error);
/// At last, the dimensions in this order.
SLUICE_API int sluice_slice_order(sluice_slice* slice, const uint32_t* order, uint32_t dimensions,
                                  sluice_error** error);
/// The slice of a tensor of scales, one for each block of `block`, that belongs to slice `of` of a tensor of `shape`.
/// SLUICE_INVALID_ARGUMENT where `of` begins inside a block, is reshaped or reordered, or does not fit.
SLUICE_API int sluice_slice_blocks_of(const sluice_slice* of, const uint64_t* shape, const uint64_t* block,
                                      uint32_t dimensions, sluice_slice** blocks, sluice_error** error);
/// "[512:640, :] as [8, 2, 96, 128]": as plans print it and rules files spell it.
SLUICE_API int sluice_slice_text(const sluice_slice* slice, sluice_text** text, sluice_error** error);

/// What was said of a slice. Lists live until the slice changes.
typedef struct sluice_slice_info {
  uint32_t size;
  uint32_t is_reshaped;
  uint32_t is_reordered;
  uint32_t cuts;
  const uint64_t* shape;
  const uint32_t* order;
  uint32_t shape_dimensions;
  uint32_t order_dimensions;
} sluice_slice_info;

enum sluice_cut_kind { SLUICE_CUT_TAKE = 0, SLUICE_CUT_PART = 1 };

/// One take(), at() or part(), in the order of the calls.
typedef struct sluice_cut {
  uint32_t size;
  uint32_t kind;  // enum sluice_cut_kind
  uint32_t dimension;
  uint32_t reserved;
  uint64_t first;   // take: begin; part: index
  uint64_t second;  // take: count; part: parts
} sluice_cut;

SLUICE_API int sluice_slice_describe(const sluice_slice* slice, sluice_slice_info* info, sluice_error** error);
SLUICE_API int sluice_slice_cut(const sluice_slice* slice, uint32_t index, sluice_cut* cut, sluice_error** error);

// --- requests --------------------------------------------------------------------------------------------------------

/// A request without rules, for the host. sluice/request.hpp tells how rules decide.
SLUICE_API int sluice_request_new(sluice_request** request, sluice_error** error);
SLUICE_API int sluice_request_copy(const sluice_request* request, sluice_request** copy, sluice_error** error);
SLUICE_API void sluice_request_free(sluice_request* request);
/// Where tensors go if their rule names no devices of its own.
SLUICE_API int sluice_request_set_devices(sluice_request* request, const sluice_device* devices, uint32_t count,
                                          sluice_error** error);
/// The least alignment of every tensor that sluice places: a power of two up to 4096; 0 leaves it to the device.
SLUICE_API int sluice_request_set_alignment(sluice_request* request, uint32_t bytes, sluice_error** error);
/// Not 0: every tensor of the checkpoint must be matched by a rule.
SLUICE_API int sluice_request_set_strict(sluice_request* request, int strict, sluice_error** error);
/// The most bytes of the load's own arenas that are there at a time, on each device by itself: 8 MiB at least; 0: each
/// device has one arena, whole from the beginning to the end. With a budget memory comes and goes in pieces of
/// `piece_bytes`: a multiple of 2 MiB, at most half the budget; 0: a quarter of it, and at most 256 MiB. A piece goes
/// when all of its tensors have been dropped (sluice_load_drop()) and none is kept (sluice_load_keep()), and none is
/// begun while that would exceed the budget: a load whose caller drops nothing stops when the budget is used up, of
/// which sluice_load_progress() tells, and a wait without end for what comes behind waits without end. A tensor that is
/// larger than a piece has one of its own: memory exceeds the budget by no more than the largest tensor and, where a
/// caller drops each only when it has the next, 4 MiB. A CUDA device must manage virtual memory (CUDA VMM): where it
/// does not, the load fails with SLUICE_DEVICE_UNAVAILABLE. sluice/request.hpp tells more.
SLUICE_API int sluice_request_set_budget(sluice_request* request, uint64_t bytes, uint64_t piece_bytes,
                                         sluice_error** error);
/// What messages call the text that the request was made from.
SLUICE_API int sluice_request_set_text(sluice_request* request, sluice_string text, sluice_error** error);

/// Adds a rule, or gives the one of this very pattern: an exact name, or a glob of fnmatch(3) in which `*` also matches
/// dots and slashes. `rule` may be NULL.
SLUICE_API int sluice_request_add(sluice_request* request, sluice_string pattern, sluice_rule** rule,
                                  sluice_error** error);
/// Deliver as `dtype`, which must be castable.
SLUICE_API int sluice_rule_cast(sluice_rule* rule, uint32_t dtype, sluice_error** error);
/// Deliver a whole copy to each of these devices, instead of the request's.
SLUICE_API int sluice_rule_on(sluice_rule* rule, const sluice_device* devices, uint32_t count, sluice_error** error);
/// Elements `from` of what the rule matches become elements `into` of `destination`, one of this rule's request. Each
/// call is a copy of its own; slices are copied, and may be NULL.
SLUICE_API int sluice_rule_to(sluice_rule* rule, sluice_destination* destination, const sluice_slice* from,
                              const sluice_slice* into, sluice_error** error);
/// Without sluice_rule_to(): deliver only these elements.
SLUICE_API int sluice_rule_take(sluice_rule* rule, const sluice_slice* from, sluice_error** error);
/// Without sluice_rule_to(): device i of the rule's n gets part i * parts / n of a dimension. 0 parts: n.
SLUICE_API int sluice_rule_split(sluice_rule* rule, uint32_t dimension, uint64_t parts, sluice_error** error);
/// The group of the tensors that the rule itself delivers.
SLUICE_API int sluice_rule_group(sluice_rule* rule, uint32_t group, sluice_error** error);
/// Leave out what it matches.
SLUICE_API int sluice_rule_skip(sluice_rule* rule, sluice_error** error);
/// Allow that nothing matches, or that earlier rules take all that does.
SLUICE_API int sluice_rule_optional(sluice_rule* rule, sluice_error** error);
/// Errors about what is said of the rule from here on name this place, from 1 on, of the request's text.
SLUICE_API int sluice_rule_said_at(sluice_rule* rule, uint32_t line, uint32_t column, sluice_error** error);

/// Adds a destination: a tensor as the caller wants it. Names are unique on a device.
SLUICE_API int sluice_request_destination(sluice_request* request, sluice_string name, const uint64_t* shape,
                                          uint32_t dimensions, uint32_t dtype, sluice_device device,
                                          sluice_destination** destination, sluice_error** error);
/// The caller's memory on the destination's device, a multiple of the dtype's alignment, from sluice_engine_start()
/// until the load has ended, of which sluice_load_free() is the latest moment.
SLUICE_API int sluice_destination_memory(sluice_destination* destination, void* data, uint64_t bytes,
                                         sluice_error** error);
/// Elements from one index to the next, one number per dimension, for memory with a pitch.
SLUICE_API int sluice_destination_strides(sluice_destination* destination, const uint64_t* strides, uint32_t dimensions,
                                          sluice_error** error);
/// Elements that no rule writes become zero, or stay as they are. Else such a destination is refused.
SLUICE_API int sluice_destination_zero(sluice_destination* destination, sluice_error** error);
SLUICE_API int sluice_destination_keep(sluice_destination* destination, sluice_error** error);
SLUICE_API int sluice_destination_group(sluice_destination* destination, uint32_t group, sluice_error** error);
/// Errors about the destination name this place of the request's text.
SLUICE_API int sluice_destination_said_at(sluice_destination* destination, uint32_t line, uint32_t column,
                                          sluice_error** error);

// What a request says: of one that was read from a text, above all.

typedef struct sluice_request_info {
  uint32_t size;
  uint32_t devices;
  uint32_t alignment_bytes;
  uint32_t is_strict;
  uint64_t rules;
  uint64_t destinations;
  uint64_t budget_bytes;
  uint64_t piece_bytes;
  sluice_string text;  // until it is set anew
} sluice_request_info;

typedef struct sluice_rule_info {
  uint32_t size;
  uint32_t devices;  // 0: the request's
  sluice_string pattern;
  uint32_t is_cast;
  uint32_t dtype;
  uint32_t is_split;
  uint32_t split_dimension;
  uint64_t split_parts;
  uint32_t targets;  // calls of sluice_rule_to()
  uint32_t group;
  const sluice_slice* taken;  // NULL where nothing was said
  uint32_t is_skip;
  uint32_t is_optional;
  uint32_t line;  // 0: there is no text
  uint32_t column;
} sluice_rule_info;

/// One call of sluice_rule_to().
typedef struct sluice_target {
  uint32_t size;
  uint32_t line;
  uint32_t column;
  uint32_t reserved;
  const sluice_destination* destination;
  const sluice_slice* from;
  const sluice_slice* into;
} sluice_target;

enum sluice_unwritten { SLUICE_UNWRITTEN_REFUSED = 0, SLUICE_UNWRITTEN_ZERO = 1, SLUICE_UNWRITTEN_KEPT = 2 };

typedef struct sluice_destination_info {
  uint32_t size;
  uint32_t dtype;
  sluice_string name;
  const uint64_t* shape;
  const uint64_t* strides;  // NULL where none were said
  uint32_t dimensions;
  uint32_t stride_dimensions;
  sluice_device device;
  uint32_t has_memory;
  uint32_t unwritten;  // enum sluice_unwritten
  void* data;
  uint64_t bytes;
  uint32_t group;
  uint32_t line;
  uint32_t column;
  uint32_t reserved;
} sluice_destination_info;

SLUICE_API int sluice_request_describe(const sluice_request* request, sluice_request_info* info, sluice_error** error);
SLUICE_API int sluice_request_device(const sluice_request* request, uint32_t index, sluice_device* device,
                                     sluice_error** error);
SLUICE_API int sluice_request_rule_at(const sluice_request* request, uint64_t index, const sluice_rule** rule,
                                      sluice_error** error);
SLUICE_API int sluice_request_destination_at(const sluice_request* request, uint64_t index,
                                             const sluice_destination** destination, sluice_error** error);
SLUICE_API int sluice_rule_describe(const sluice_rule* rule, sluice_rule_info* info, sluice_error** error);
SLUICE_API int sluice_rule_device(const sluice_rule* rule, uint32_t index, sluice_device* device, sluice_error** error);
SLUICE_API int sluice_rule_target(const sluice_rule* rule, uint32_t index, sluice_target* target, sluice_error** error);
SLUICE_API int sluice_destination_describe(const sluice_destination* destination, sluice_destination_info* info,
                                           sluice_error** error);

// --- rules files -----------------------------------------------------------------------------------------------------

typedef struct sluice_variable {
  sluice_string name;
  int64_t value;
} sluice_variable;

/// What a rules file is worked out with.
typedef struct sluice_rules_options {
  uint32_t size;
  uint32_t value_count;
  uint32_t device_count;  // 0: the host
  uint32_t flags;         // 0
  const sluice_variable* values;
  const sluice_device* devices;
} sluice_rules_options;

/// The request of the rules file at `path` for `checkpoint`, as sluice/rules.hpp tells. `options` may be NULL.
/// SLUICE_BAD_RULES and SLUICE_TENSOR_NOT_FOUND with line and column, SLUICE_NOT_FOUND, SLUICE_IO,
/// SLUICE_LIMIT_EXCEEDED.
SLUICE_API int sluice_read_rules(sluice_string path, const sluice_checkpoint* checkpoint,
                                 const sluice_rules_options* options, sluice_request** request, sluice_error** error);
/// The same of a text. Messages call it `name`; an empty one stands for "rules".
SLUICE_API int sluice_parse_rules(sluice_string text, const sluice_checkpoint* checkpoint,
                                  const sluice_rules_options* options, sluice_string name, sluice_request** request,
                                  sluice_error** error);
/// `request` as a rules file. Fails as sluice_make_plan() does.
SLUICE_API int sluice_write_rules(const sluice_checkpoint* checkpoint, const sluice_request* request,
                                  sluice_text** rules, sluice_error** error);

// --- plans -----------------------------------------------------------------------------------------------------------

/// What a caller gets. Name, shape and strides live as long as the handle that it came from, and so does `data` unless
/// it is the caller's own, or the tensor is dropped.
typedef struct sluice_tensor {
  uint32_t size;
  uint32_t dtype;
  sluice_string name;
  const uint64_t* shape;    // row-major, outermost first
  const uint64_t* strides;  // elements per index, where the destination has them; else NULL
  uint32_t dimensions;      // 0 for a scalar
  uint32_t group;
  sluice_device device;
  void* data;  // on `device`; NULL on the null device, for a tensor of no bytes, and in a plan
  uint64_t bytes;
} sluice_tensor;

/// What running a plan costs: sluice/plan.hpp tells of each.
typedef struct sluice_costs {
  uint32_t size;
  uint32_t devices;
  uint32_t groups;
  uint32_t reserved;
  uint64_t tensors;
  uint64_t read_bytes;
  uint64_t delivered_bytes;
  uint64_t extents;
  uint64_t in_place_extents;
  uint64_t deliveries;
  uint64_t copies;
  uint64_t launches;
  uint64_t staging_bytes;
  uint64_t run_bytes_min;
  double seconds;  // that making the plan took
  double cpu_seconds;
} sluice_costs;

typedef struct sluice_device_costs {
  uint32_t size;
  sluice_device device;
  uint32_t reserved;
  uint64_t tensors;
  uint64_t arena_bytes;
  uint64_t arena_peak_bytes;  // of arena_bytes, the most that are there at a time
  uint64_t caller_bytes;
  uint64_t link_bytes;
  uint64_t scratch_bytes;
} sluice_device_costs;

typedef struct sluice_group_costs {
  uint32_t size;
  uint32_t group;
  uint64_t tensors;
  uint64_t delivered_bytes;
  uint64_t read_bytes_until;
} sluice_group_costs;

/// Works `request` out, without I/O. `options` may be NULL; pass the engine's. SLUICE_INVALID_ARGUMENT,
/// SLUICE_TENSOR_NOT_FOUND for a rule that matches nothing, SLUICE_INCOMPLETE, SLUICE_LIMIT_EXCEEDED, also where
/// destinations are made of parts that are read so far apart that they exceed the budget. A plan never changes; any
/// number of threads may use it.
SLUICE_API int sluice_make_plan(const sluice_checkpoint* checkpoint, const sluice_request* request,
                                const sluice_options* options, sluice_plan** plan, sluice_error** error);
/// The request of `like` against another checkpoint, with every tensor where `like` has it: for a reload into the same
/// memory. SLUICE_TENSOR_NOT_FOUND, SLUICE_INVALID_ARGUMENT for another shape or dtype and for a request with a budget,
/// SLUICE_INCOMPLETE.
SLUICE_API int sluice_make_plan_like(const sluice_checkpoint* checkpoint, const sluice_plan* like, sluice_plan** plan,
                                     sluice_error** error);
SLUICE_API void sluice_plan_free(sluice_plan* plan);
SLUICE_API int sluice_plan_costs(const sluice_plan* plan, sluice_costs* costs, sluice_error** error);
/// In the order in which the request first names devices; and of groups, ascending.
SLUICE_API int sluice_plan_device(const sluice_plan* plan, uint32_t index, sluice_device_costs* costs,
                                  sluice_error** error);
SLUICE_API int sluice_plan_group(const sluice_plan* plan, uint32_t index, sluice_group_costs* costs,
                                 sluice_error** error);
/// What a load of the plan delivers: destinations in the request's order, then tensors in file order, once per device
/// that they go to.
SLUICE_API int sluice_plan_tensor(const sluice_plan* plan, uint64_t index, sluice_tensor* tensor, sluice_error** error);
/// Tensors of the checkpoint that no rule matches, in file order: how many there are, and each.
SLUICE_API int sluice_plan_left_out_count(const sluice_plan* plan, uint64_t* count, sluice_error** error);
SLUICE_API int sluice_plan_left_out(const sluice_plan* plan, uint64_t index, sluice_tensor_info* info,
                                    sluice_error** error);

/// All that sluice_make_plan() would refuse of the request itself. No findings where it would succeed.
SLUICE_API int sluice_check(const sluice_checkpoint* checkpoint, const sluice_request* request,
                            sluice_findings** findings, sluice_error** error);
SLUICE_API size_t sluice_findings_count(const sluice_findings* findings);
/// NULL beyond the last. It belongs to the findings.
SLUICE_API const sluice_error* sluice_findings_at(const sluice_findings* findings, size_t index);
SLUICE_API void sluice_findings_free(sluice_findings* findings);

// --- engines ---------------------------------------------------------------------------------------------------------

/// A piece of memory on a device.
typedef struct sluice_memory {
  uint32_t size;
  sluice_device device;
  uint32_t flags;  // 0
  void* data;
  uint64_t bytes;
} sluice_memory;

/// Nothing is written on a CUDA device before what is queued on its stream now has been done.
typedef struct sluice_after {
  uint32_t size;
  sluice_device device;
  uint32_t flags;  // 0
  void* stream;    // a CUstream or cudaStream_t of the device; NULL: the default stream
} sluice_after;

/// How a load begins.
typedef struct sluice_start_options {
  uint32_t size;
  uint32_t arena_count;
  uint32_t after_count;
  uint32_t flags;  // 0
  /// Where the plan's arenas lie: at most one per device, of its arena_bytes at least, `data` a multiple of 4096. The
  /// memory stays the caller's, and must be there until the load has ended. Other devices get an allocation. None with
  /// a budget.
  const sluice_memory* arenas;
  const sluice_after* after;
} sluice_start_options;

/// Threads, ring and staging: one per process is enough. `options` may be NULL. Any number of threads may use an engine
/// at a time; one load at a time has the disk. SLUICE_INVALID_ARGUMENT for options out of bounds, SLUICE_SYSTEM.
SLUICE_API int sluice_engine_new(const sluice_options* options, sluice_engine** engine, sluice_error** error);
/// Cancels the loads that still run, and waits for that. Tensors that have arrived stay with their load.
SLUICE_API void sluice_engine_free(sluice_engine* engine);
/// Starts preparing what loads to `devices` will need, and returns at once. May be called from any thread.
SLUICE_API int sluice_engine_prepare(sluice_engine* engine, const sluice_device* devices, uint32_t count,
                                     sluice_error** error);
/// Begins a load and returns at once. `options` may be NULL. What goes wrong later is told by the calls that wait for
/// the load. SLUICE_INVALID_ARGUMENT if the plan was made for larger slabs, or `options` do not fit it: then nothing
/// has been touched. May be called from any thread.
SLUICE_API int sluice_engine_start(sluice_engine* engine, const sluice_plan* plan, const sluice_start_options* options,
                                   sluice_load** load, sluice_error** error);
/// The engine's options, resolved or not as they were given.
SLUICE_API int sluice_engine_options(const sluice_engine* engine, sluice_options* options, sluice_error** error);

// --- loads -----------------------------------------------------------------------------------------------------------

/// Cancels what still runs, waits until nothing touches the arenas any more, and frees what of them is not kept. All
/// other functions of a load may be called from any number of threads at a time.
///
/// A tensor that has arrived is complete and stays so. A load that fails ends as a whole: what arrived before stays
/// valid, and calls that wait for more return the load's error. To be sure that all arrived, finish with
/// sluice_load_wait().
SLUICE_API void sluice_load_free(sluice_load* load);

enum sluice_arrival {
  SLUICE_TIME_UP = 0,
  SLUICE_ARRIVED = 1,
  SLUICE_NO_MORE = 2,  // the load delivers no more than so many tensors
};

/// The `index`th tensor to arrive, waited for, be it dropped since or not; *arrival says whether there is one (enum
/// sluice_arrival). Returns the load's error where it ended before.
SLUICE_API int sluice_load_arrival(const sluice_load* load, uint64_t index, int64_t timeout_ns, sluice_tensor* tensor,
                                   int* arrival, sluice_error** error);
/// The tensor, if it has arrived and has not been dropped, which *found says. Does not wait. `tensor` may be NULL, here
/// and below.
SLUICE_API int sluice_load_find(const sluice_load* load, sluice_string name, sluice_device device,
                                sluice_tensor* tensor, int* found, sluice_error** error);
/// Waits for all tensors. Returns the load's error, here and below.
SLUICE_API int sluice_load_wait(const sluice_load* load, int64_t timeout_ns, int* done, sluice_error** error);
/// Waits for one tensor. SLUICE_TENSOR_NOT_FOUND if the plan does not deliver it, SLUICE_INVALID_ARGUMENT if it has
/// been dropped.
SLUICE_API int sluice_load_wait_tensor(const sluice_load* load, sluice_string name, sluice_device device,
                                       int64_t timeout_ns, sluice_tensor* tensor, int* done, sluice_error** error);
/// Waits for all of a group on one device. SLUICE_TENSOR_NOT_FOUND if nothing of it goes there.
SLUICE_API int sluice_load_wait_group(const sluice_load* load, uint32_t group, sluice_device device, int64_t timeout_ns,
                                      int* done, sluice_error** error);
/// Makes the work that is queued on `stream` from now on wait for a tensor, or a group, on a CUDA device. The host
/// waits only until it is read: queue kernels that use the pointer behind this call. What goes wrong on the device
/// after that is told by sluice_load_wait(). `stream` is a CUstream or cudaStream_t of the device; NULL: the default
/// stream. On a device without streams, and for a stream that captures a graph, this waits for the tensor itself. The
/// timeout is the host's.
SLUICE_API int sluice_load_wait_on(const sluice_load* load, void* stream, sluice_string name, sluice_device device,
                                   int64_t timeout_ns, sluice_tensor* tensor, int* done, sluice_error** error);
SLUICE_API int sluice_load_wait_on_group(const sluice_load* load, void* stream, uint32_t group, sluice_device device,
                                         int64_t timeout_ns, int* done, sluice_error** error);
/// Whether all of the group has arrived on the device, after a failure or a cancel, too. Does not wait. 0 where nothing
/// of it goes there.
SLUICE_API int sluice_load_ready(const sluice_load* load, uint32_t group, sluice_device device, int* ready,
                                 sluice_error** error);
/// Reads what is missing of the group next. Does nothing with a budget.
SLUICE_API int sluice_load_prefer(sluice_load* load, uint32_t group, sluice_error** error);
/// Asks the load to end, and returns at once. Calls that wait return SLUICE_CANCELLED. A load that has ended stays as
/// it is.
SLUICE_API int sluice_load_cancel(sluice_load* load, sluice_error** error);
/// An eventfd that is readable when something has arrived since it was last read, when the load is held up, and when it
/// has ended: read its 8 bytes, then look; it may be readable without a reason. It is the load's: do not close it. -1
/// where the system refuses it.
SLUICE_API int sluice_load_descriptor(const sluice_load* load, int* descriptor, sluice_error** error);
/// The arenas, waited for: writes the first `capacity` of them to `arenas`, whose size the first tells, and to *count
/// how many there are. For sluice_make_plan_like() and sluice_engine_start(): this load stays the owner.
SLUICE_API int sluice_load_arenas(const sluice_load* load, sluice_memory* arenas, size_t capacity, size_t* count,
                                  sluice_error** error);
/// Copies `bytes` at `offset` of a tensor that has arrived into host memory. SLUICE_INVALID_ARGUMENT outside the
/// tensor, for one that has not arrived or has been dropped, and for the null device.
SLUICE_API int sluice_load_read_back(const sluice_load* load, sluice_string name, sluice_device device, uint64_t offset,
                                     void* target, uint64_t bytes, sluice_error** error);

/// Keeps a tensor that has arrived for longer than its load: its memory, name and shape are there until the last of its
/// sluice_kept is freed, be load and engine gone or not. Memory is kept as a whole: all of an arena, or with a budget
/// the tensor's piece; of the caller's own memory only name and shape are kept. When it goes that waits, on a CUDA
/// device, for all that has been queued on the device by then, which spoils a graph that is being captured there: the
/// driver refuses to wait then, and memory goes at once, so name the stream where graphs are captured meanwhile; with
/// ..._on for what has been queued on `stream`, which must still be there. SLUICE_INVALID_ARGUMENT for a tensor that
/// has not arrived, or has been dropped.
SLUICE_API int sluice_load_keep(const sluice_load* load, sluice_string name, sluice_device device, sluice_kept** kept,
                                sluice_error** error);
SLUICE_API int sluice_load_keep_on(const sluice_load* load, void* stream, sluice_string name, sluice_device device,
                                   sluice_kept** kept, sluice_error** error);
/// The caller needs the tensor no more, which then is not found any more and must not be touched. With a budget the
/// memory of a piece goes, and the load goes on into the next, when the last of its tensors has been dropped and none
/// is kept; this may then wait for a CUDA device: for all that has been queued on it; with ..._on for what is queued on
/// `stream` now. Without a budget memory stays until the load is freed. SLUICE_INVALID_ARGUMENT as above.
SLUICE_API int sluice_load_drop(const sluice_load* load, sluice_string name, sluice_device device,
                                sluice_error** error);
SLUICE_API int sluice_load_drop_on(const sluice_load* load, void* stream, sluice_string name, sluice_device device,
                                   sluice_error** error);

typedef struct sluice_progress {
  uint32_t size;
  uint32_t is_finished;  // done, failed or cancelled
  uint64_t bytes_read;   // from storage so far
  uint64_t bytes_total;
  uint64_t tensors_ready;
  uint64_t tensors_total;
  uint32_t is_held_up;  // with a budget: nothing more arrives until a tensor is dropped, or one goes that is kept
  uint32_t reserved;
} sluice_progress;

SLUICE_API int sluice_load_progress(const sluice_load* load, sluice_progress* progress, sluice_error** error);

/// What a load did: sluice/stats.hpp tells of each. Complete once the load has ended.
typedef struct sluice_stats {
  uint32_t size;
  uint32_t reader;     // enum sluice_reader: which one ran
  uint32_t fallbacks;  // so many faster ways were refused, or slower ones taken
  uint32_t reserved;
  uint64_t bytes;  // read from storage
  uint64_t delivered_bytes;
  double seconds;  // open + plan + start-up + load, to the last tensor published
  double cpu_seconds;
  double open_seconds;
  double plan_seconds;
  double start_up_seconds;
  double load_seconds;
  double devices_seconds;
  double lanes_seconds;
  double pinning_seconds;
  uint64_t direct_bytes;  // of `bytes`: read with O_DIRECT
  uint64_t extents;
  uint64_t copies;
  uint64_t launches;
  uint64_t peak_staging_bytes;
  uint64_t peak_arena_bytes;  // of the load's own, on all devices
  uint64_t window_bytes;
  double window_bytes_per_second;
  double read_latency_seconds;
  uint64_t peak_resident_bytes;  // of the process, ever
} sluice_stats;

SLUICE_API int sluice_load_statistics(const sluice_load* load, sluice_stats* stats, sluice_error** error);
/// What was refused ("io_uring", "O_DIRECT"), what refused it, and what would allow it. The strings live as long as the
/// load.
SLUICE_API int sluice_load_fallback(const sluice_load* load, uint32_t index, sluice_string* what, sluice_string* reason,
                                    sluice_error** error);

// --- kept tensors ----------------------------------------------------------------------------------------------------

/// What sluice_load_keep() kept. A kept tensor never changes; any number of threads may use it.
SLUICE_API int sluice_kept_tensor(const sluice_kept* kept, sluice_tensor* tensor, sluice_error** error);
/// The same tensor, held once more.
SLUICE_API int sluice_kept_copy(const sluice_kept* kept, sluice_kept** copy, sluice_error** error);
/// May wait for the device, as sluice_load_keep() tells.
SLUICE_API void sluice_kept_free(sluice_kept* kept);
/// The tensor for another framework, by DLPack 1.1: by pointer, without a copy. It is complete: no stream needs to wait
/// for anything. *managed is the caller's, who calls its deleter once, on any thread, or hands it to who does; it holds
/// the tensor by itself, as a copy does. Strides are always set; F4 is said as pairs, so that the last dimension is
/// halved. SLUICE_UNSUPPORTED_FORMAT for F6 and for F4 without pairs, SLUICE_INVALID_ARGUMENT on the null device.
SLUICE_API int sluice_kept_dlpack(const sluice_kept* kept, struct DLManagedTensorVersioned** managed,
                                  sluice_error** error);
/// The same in the form before DLPack 1.0, for consumers that ask for no version.
SLUICE_API int sluice_kept_dlpack_unversioned(const sluice_kept* kept, struct DLManagedTensor** managed,
                                              sluice_error** error);

// --- traces ----------------------------------------------------------------------------------------------------------

enum sluice_span_kind {
  SLUICE_SPAN_OPEN = 0,
  SLUICE_SPAN_PLAN = 1,
  SLUICE_SPAN_START_UP = 2,
  SLUICE_SPAN_POPULATE = 3,
  SLUICE_SPAN_READ = 4,
  SLUICE_SPAN_COPY = 5,
  SLUICE_SPAN_DELIVER = 6,
  SLUICE_SPAN_WAIT = 7,
};

#define SLUICE_NO_EXTENT UINT32_C(0xffffffff)

/// Something that took time: sluice/trace.hpp tells of each kind.
typedef struct sluice_span {
  uint32_t size;
  uint32_t kind;  // enum sluice_span_kind
  uint32_t row;
  uint32_t extent;  // its number in the plan, or SLUICE_NO_EXTENT
  uint32_t tensors;
  uint32_t reserved;
  uint64_t bytes;
  int64_t begin_ns;  // of CLOCK_MONOTONIC
  int64_t end_ns;
} sluice_span;

/// What was done when, so far. No spans unless sluice_options says to keep them. A trace never changes; any number of
/// threads may use it.
SLUICE_API int sluice_load_trace(const sluice_load* load, sluice_trace** trace, sluice_error** error);
SLUICE_API void sluice_trace_free(sluice_trace* trace);
/// How many rows and spans there are, and how many spans were dropped. Each may be NULL.
SLUICE_API int sluice_trace_count(const sluice_trace* trace, uint32_t* rows, uint64_t* spans, uint64_t* dropped,
                                  sluice_error** error);
SLUICE_API int sluice_trace_row(const sluice_trace* trace, uint32_t index, sluice_string* name, sluice_error** error);
SLUICE_API int sluice_trace_span(const sluice_trace* trace, uint64_t index, sluice_span* span, sluice_error** error);
/// "open", "plan", "start-up", "populate", "read", "copy", "deliver", "wait"; NULL for a number that is none.
SLUICE_API const char* sluice_span_name(uint32_t kind);

#ifdef __cplusplus
}  // extern "C"
#endif

#endif  // SLUICE_SLUICE_H_
