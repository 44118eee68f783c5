// SLUICE_API marks what libsluice.so offers; everything else in it is hidden. Whoever links the static library defines
// SLUICE_STATIC, as sluice::sluice_static and `pkg-config --static` do: then sluice becomes a part of the program or
// library that links it, and shows no symbol of its own to others.
#pragma once

#if defined(SLUICE_STATIC)
#define SLUICE_API
#else
#define SLUICE_API __attribute__((visibility("default")))
#endif
