// sanitized: whether a sanitizer watches this build, thread_sanitized: whether that of threads does, the slowest. Tests
// that try millions of cases try fewer then, by a rule they state.
#pragma once

#if defined(__has_feature)
#define SLUICE_HAS_FEATURE(feature) __has_feature(feature)
#else
#define SLUICE_HAS_FEATURE(feature) 0
#endif

namespace sluice {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || SLUICE_HAS_FEATURE(address_sanitizer) || \
    SLUICE_HAS_FEATURE(thread_sanitizer)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

#if defined(__SANITIZE_THREAD__) || SLUICE_HAS_FEATURE(thread_sanitizer)
inline constexpr bool thread_sanitized = true;
#else
inline constexpr bool thread_sanitized = false;
#endif

}  // namespace sluice
