#!/usr/bin/env bash
# Compares what libsluice.so ($1) exports with what the public headers ($2) mark with SLUICE_API: members of marked
# classes, marked functions of C++ and of C, and what lets a caller catch an Error. Nothing of the standard library,
# nothing unique. Of C's functions none may go or change its name before the soname does: $3 lists them.
set -euo pipefail
library=$1 headers=$2 listed=$3

classes=$(grep -hoP 'class SLUICE_API \K\w+' "$headers"/*.hpp | paste -sd '|')
functions=$(grep -hoP '^SLUICE_API [^(]*?\K\w+(?=\()' "$headers"/*.hpp | sort -u)
c_functions=$(grep -hoP '^SLUICE_API [^(]*?\K\w+(?=\()' "$headers"/*.h | LC_ALL=C sort -u)
error=$(printf '%s for sluice::Error\n' vtable typeinfo 'typeinfo name')

# Kind and name of each, without its arguments.
exported=$(nm -DC --defined-only "$library" | cut -d ' ' -f 2- | sed -E 's/(\[abi:cxx11\])?\(.*//' | sort -u)
stray=$(grep -vE "^[TW] sluice::((($classes)::)+(~?\w+|operator[^ :]+)|${functions//$'\n'/|})\$" <<<"$exported" |
        grep -vE "^[VDR] (${error//$'\n'/|})\$|^T (${c_functions//$'\n'/|})\$" || true)
missing=$(comm -23 <(printf '%s\n' "$error" "$c_functions" "$(sed 's/^/sluice::/' <<<"$functions")" | sort) <(cut -d ' ' -f 2- <<<"$exported" | sort -u))

[[ -z $stray ]] || printf 'exported though no public header marks it:\n%s\n' "$stray"
[[ -z $missing ]] || printf 'marked but not exported:\n%s\n' "$missing"
[[ -z $stray && -z $missing ]] || exit 1
diff "$listed" <(printf '%s\n' "$c_functions") || { echo "< is listed in $listed, > is declared in sluice.h"; exit 1; }
