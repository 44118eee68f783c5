#!/bin/sh
# Builds the consumer with what pkg-config says about the installed tree $1, with compiler $2, and runs it: shared, then static.
set -eu
prefix=$1 compiler=$2 source=$3
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name sluice.pc)")
export PKG_CONFIG_PATH

# Word splitting is what pkg-config's output is made for.
# shellcheck disable=SC2046
"$compiler" -std=c++20 "$source" -o shared $(pkg-config --cflags --libs sluice)
ldd shared | grep -q libsluice.so.0 || { echo "the shared consumer does not ask for libsluice.so.0.*"; exit 1; }
LD_LIBRARY_PATH=$(pkg-config --variable=libdir sluice) ./shared

# The linker prefers a shared library where it finds both, so the archive is named by its file.
# shellcheck disable=SC2046
"$compiler" -std=c++20 "$source" -o static $(pkg-config --cflags --libs --static sluice | sed 's/-lsluice/-l:libsluice.a/')
if ldd static | grep -q libsluice; then echo "the static consumer asks for libsluice.so"; exit 1; fi
./static

# What is compiled for the archive must know it.
pkg-config --cflags --static sluice | grep -q -e -DSLUICE_STATIC || { echo "--static does not define SLUICE_STATIC"; exit 1; }
if pkg-config --cflags sluice | grep -q -e SLUICE_STATIC; then echo "the shared library's users get SLUICE_STATIC"; exit 1; fi
