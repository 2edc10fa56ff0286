#!/usr/bin/env bash
# Wan2.1 image (IMAGE) to video at 720p; the variables of navicache_wan.sh work here too.
set -euo pipefail
export TASK=i2v-14B SIZE="${SIZE:-1280*720}"
exec "$(dirname "${BASH_SOURCE[0]}")/navicache_wan.sh" "$@"
