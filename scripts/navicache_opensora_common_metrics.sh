#!/usr/bin/env bash
# PSNR, SSIM and LPIPS of generated videos against others, matched by name: GT_VIDEO_DIR, GENERATED_VIDEO_DIR; with
# SCORE_DIR the figures go to SCORE_DIR/common_metrics.json instead of a table. Options of `navicache metrics` may follow.
set -euo pipefail
: "${GT_VIDEO_DIR:?the folder of reference videos}" "${GENERATED_VIDEO_DIR:?the folder of generated videos}"
if [ -n "${SCORE_DIR:-}" ]; then
  mkdir -p -- "$SCORE_DIR"
  scores=$(navicache metrics "$GT_VIDEO_DIR" "$GENERATED_VIDEO_DIR" --json "$@")
  printf '%s\n' "$scores" >"$SCORE_DIR/common_metrics.json"
else
  exec navicache metrics "$GT_VIDEO_DIR" "$GENERATED_VIDEO_DIR" "$@"
fi
