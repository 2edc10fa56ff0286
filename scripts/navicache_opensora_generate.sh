#!/usr/bin/env bash
# Open-Sora 1.2: generate a video, the same as navicache_opensora.sh.
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/navicache_opensora.sh" "$@"
