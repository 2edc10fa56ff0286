#!/usr/bin/env bash
# What caching costs in fidelity and gains in time with real weights: prompts of VBench, two of each dimension, uncached
# and with three settings of equal work, in PSNR, SSIM, LPIPS and seconds. It takes hours on a GPU; run again, it goes on
# where it stopped. The page is real-weights/index.html, the figures are beside it in compare.json.
#
#   navicache setup wan --weights Wan2.1-T2V-1.3B && pip install "navicache[metrics]"
#   PROMPT_PATH=VBench_full_info.json scripts/real_weights.sh
#
# PROMPT_PATH: VBench's list of prompts, from github.com/Vchitect/VBench. PROMPTS: how many, 32 unless set. STEPS: of the
# sampler, 50 unless set. Options of `navicache compare` may follow, and win: --model hunyuan, --seeds 2, --no-lpips.
set -euo pipefail
: "${PROMPT_PATH:?the path of VBench_full_info.json, from github.com/Vchitect/VBench}"
steps=${STEPS:-50}
chosen=$(mktemp -d)
trap 'rm -rf "$chosen"' EXIT
python3 "$(dirname "${BASH_SOURCE[0]}")/vbench_prompts.py" "$PROMPT_PATH" --count "${PROMPTS:-32}" >"$chosen/prompts.txt"
cat >"$chosen/settings.yaml" <<END
published 2x: {method: navicache, speedup: 2}
calibrated 2x: {method: navicache+calibrated, speedup: 2}
half the steps: {method: fewer-steps, steps: $((steps / 2))}
END
navicache compare --model wan --steps "$steps" --settings "$chosen/settings.yaml" --prompts "$chosen/prompts.txt" --lpips \
  --output-dir real-weights "$@"
