#!/usr/bin/env bash
# Wan2.1 from inside its official checkout. Any option of `navicache generate` may follow.
#
#   TASK=i2v-14B SIZE=832*480 CKPT_DIR=Wan2.1-I2V-14B-480P IMAGE=cat.png PROMPT="A cat" navicache_wan.sh --mode mid
#
# TASK, SIZE, CKPT_DIR (weights), IMAGE, PROMPT, SAVE_PATH (.mp4 or folder), NAVICACHE_THRESH,
# NAVICACHE_ALIGN_STEPS: as published; unset ones are the preset's. NPROC: number of GPUs.
set -euo pipefail
# shellcheck source=scripts/launch.sh
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

option --model wan
checkout NAVICACHE_WAN_REPO wan/text2video.py
option --task "${TASK:-}"
option --size "${SIZE:-}"
option --weights "${CKPT_DIR:-}"
option --image "${IMAGE:-}"
option --prompt "${PROMPT:-}"
save_path "${SAVE_PATH:-}"
launch "$@"
