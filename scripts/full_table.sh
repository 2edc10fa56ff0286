#!/usr/bin/env bash
# The full table on tiny: every method, ours and the peers', at three budgets of work, over prompts that no setting
# was tuned on. Run again, it resumes where it stopped; fewer prompts first is no loss.
#   scripts/full_table.sh [PROMPTS] [SEEDS] [options of navicache compare]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
prompts=${1:-32} seeds=${2:-2}
shift $(($# < 2 ? $# : 2))
chosen=$(mktemp)
trap 'rm -f "$chosen"' EXIT
head -n "$prompts" "$here/full_table/prompts.txt" >"$chosen"
navicache compare --settings "$here/full_table/settings.yaml" --prompts "$chosen" --seeds "$seeds" --seed 1000 \
  --output-dir full-table "$@"
