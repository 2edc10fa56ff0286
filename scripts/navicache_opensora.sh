#!/usr/bin/env bash
# Open-Sora 1.2 from inside the official checkout or one of VideoSys. Any option of `navicache generate` may
# follow.
#
#   SAVE_PATH=videos PROMPT="A waterfall" navicache_opensora.sh --mode slow
#
# SAVE_PATH (.mp4 or folder), NAVICACHE_THRESH, NAVICACHE_ALIGN_STEPS: as published; unset ones are the
# preset's. PROMPT; CKPT_DIR: weights.
set -euo pipefail
# shellcheck source=scripts/launch.sh
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

option --model opensora
for package in opensora videosys; do
    checkout NAVICACHE_OPENSORA_REPO "$package/__init__.py"
done
option --weights "${CKPT_DIR:-}"
option --prompt "${PROMPT:-}"
save_path "${SAVE_PATH:-}"
launch "$@"
