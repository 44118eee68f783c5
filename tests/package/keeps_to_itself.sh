#!/usr/bin/env bash
# A shared library ($1) that links libsluice.a has sluice inside and shows nothing of it.
set -euo pipefail
nm -C "$1" | grep ' sluice::Engine::start(' >/dev/null || { echo "sluice is not in $1"; exit 1; }
if nm -DC --defined-only "$1" | grep -E ' (vtable for |typeinfo (name )?for )?sluice::| sluice_'; then
  echo "these are sluice's, and $1 exports them"
  exit 1
fi
