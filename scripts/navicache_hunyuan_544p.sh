#!/usr/bin/env bash
# HunyuanVideo at 544p; the variables of navicache_hunyuan.sh work here too.
set -euo pipefail
export TASK=t2v-544p
exec "$(dirname "${BASH_SOURCE[0]}")/navicache_hunyuan.sh" "$@"
