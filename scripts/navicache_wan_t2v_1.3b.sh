#!/usr/bin/env bash
# Wan2.1 text to video, 1.3B parameters; the variables of navicache_wan.sh work here too.
set -euo pipefail
export TASK=t2v-1.3B SIZE="${SIZE:-832*480}"
exec "$(dirname "${BASH_SOURCE[0]}")/navicache_wan.sh" "$@"
