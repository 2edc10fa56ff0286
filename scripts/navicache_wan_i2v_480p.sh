#!/usr/bin/env bash
# Wan2.1 image (IMAGE) to video at 480p; the variables of navicache_wan.sh work here too.
set -euo pipefail
export TASK=i2v-14B SIZE="${SIZE:-832*480}"
exec "$(dirname "${BASH_SOURCE[0]}")/navicache_wan.sh" "$@"
