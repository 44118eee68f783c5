// SLUICE_API marks what libsluice.so offers; everything else in it is hidden.
#pragma once

#define SLUICE_API __attribute__((visibility("default")))
