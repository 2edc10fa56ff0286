#!/usr/bin/env bash
# PSNR, SSIM and LPIPS of generated videos against others, matched by name: GT_VIDEO_DIR, GENERATED_VIDEO_DIR. Figures and a
# page go to SCORE_DIR, `common-metrics` unless set. Options of `navicache eval common` may follow. Started again, it goes
# on where it stopped.
set -euo pipefail
# shellcheck source=scripts/launch.sh
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

: "${GT_VIDEO_DIR:?the folder of reference videos}" "${GENERATED_VIDEO_DIR:?the folder of generated videos}"
arguments=(eval common)
option --output-dir "${SCORE_DIR:-}"
exec navicache "${arguments[@]}" "$@" -- "$GT_VIDEO_DIR" "$GENERATED_VIDEO_DIR"
