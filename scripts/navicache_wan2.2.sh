#!/usr/bin/env bash
# Wan2.2 from inside its official checkout. Any option of `navicache generate` may follow.
#
#   TASK=i2v-A14B SIZE=832*480 CKPT_DIR=Wan2.2-I2V-A14B IMAGE=cat.png PROMPT="A cat" navicache_wan2.2.sh --mode mid
#
# TASK (t2v-A14B, i2v-A14B, ti2v-5B), SIZE, CKPT_DIR (weights), IMAGE, PROMPT, SAVE_PATH (.mp4 or folder),
# NAVICACHE_THRESH, NAVICACHE_ALIGN_STEPS: as of navicache_wan.sh; unset ones are the preset's. NPROC: number
# of GPUs.
set -euo pipefail
# shellcheck source=scripts/launch.sh
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

option --model wan2.2
checkout NAVICACHE_WAN22_REPO wan/textimage2video.py
option --task "${TASK:-}"
option --size "${SIZE:-}"
option --weights "${CKPT_DIR:-}"
option --image "${IMAGE:-}"
option --prompt "${PROMPT:-}"
save_path "${SAVE_PATH:-}"
launch "$@"
