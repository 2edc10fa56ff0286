#!/usr/bin/env bash
# HunyuanVideo from inside its official checkout. Any option of `navicache generate` may follow.
#
#   VIDEO_HEIGHT=720 VIDEO_WIDTH=1280 PROMPT="A cat walks on the grass" navicache_hunyuan.sh --mode mid
#
# VIDEO_HEIGHT, VIDEO_WIDTH, VIDEO_LENGTH (frames), INFER_STEPS, SAVE_PATH (.mp4 or folder), PROMPT,
# NAVICACHE_THRESH, NAVICACHE_ALIGN_STEPS: as published; unset ones are the preset's. Of height and width one is enough
# at 544, 960, 720 or 1280. TASK: t2v-544p or t2v-720p, otherwise by the size. CKPT_DIR: weights. NPROC: number of GPUs.
set -euo pipefail
# shellcheck source=scripts/launch.sh
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

# other SIDE: the other side of a video of 544p or 720p.
other() {
    case $1 in
        544) echo 960 ;;
        960) echo 544 ;;
        720) echo 1280 ;;
        1280) echo 720 ;;
    esac
}

size=
height=${VIDEO_HEIGHT:-$(other "${VIDEO_WIDTH:-}")} width=${VIDEO_WIDTH:-$(other "${VIDEO_HEIGHT:-}")}
if [ -n "$height$width" ]; then
    : "${height:?set VIDEO_HEIGHT too: $width is wide of several sizes}"
    : "${width:?set VIDEO_WIDTH too: $height is high of several sizes}"
    size=${width}x$height
fi
case $size in
    1280x720 | 720x1280 | 1104x832 | 832x1104 | 960x960) task=${TASK:-t2v-720p} ;;
    *) task=${TASK:-} ;;
esac

option --model hunyuan
checkout NAVICACHE_HUNYUAN_REPO hyvideo/inference.py
option --task "$task"
option --size "$size"
option --frames "${VIDEO_LENGTH:-}"
option --steps "${INFER_STEPS:-}"
option --weights "${CKPT_DIR:-}"
option --prompt "${PROMPT:-}"
save_path "${SAVE_PATH:-}"
launch "$@"
