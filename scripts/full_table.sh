#!/usr/bin/env bash
# The full table on tiny: every method, the peers' and ours, at equal work, over prompts that no setting was tuned on,
# under the main condition of backends/tiny/conditions.py; with CONDITION=preset under tiny's preset. Run again, it
# resumes where it stopped; fewer prompts first is no loss. Peers and ours have folders of their own, since cells are
# made anew when the cache's code changes: with ONLY=ours the peers stay as they are.
#   [CONDITION=preset] [ONLY=peers|ours] scripts/full_table.sh [PROMPTS] [SEEDS] [options of navicache compare]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
prompts=${1:-32} seeds=${2:-2} condition=${CONDITION:-main}
shift $(($# < 2 ? $# : 2))
declare -A under=([main]="--shift 1 --guidance 12" [preset]="")
# By `navicache schedule --speedup 1.5,2,2.5,3 --prompts FILE`, from the first four prompts of held_out_scenes(8, 101).
declare -A schedule=([main]="$here/full_table/schedule-main.yaml" [preset]=preset)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chosen="$work/prompts.txt"
head -n "$prompts" "$here/full_table/prompts.txt" >"$chosen"
cp "$here/full_table/ours.yaml" "$work"
for speedup in 1.5 2 2.5 3; do
  echo "scheduled ${speedup}x: {method: navicache, schedule: \"${schedule[$condition]}\", speedup: $speedup}"
done >>"$work/ours.yaml"
declare -A settings=([peers]="$here/full_table/$condition.yaml" [ours]="$work/ours.yaml")
for group in ${ONLY:-peers ours}; do
  # shellcheck disable=SC2086  # options, split at blanks
  navicache compare --settings "${settings[$group]}" --prompts "$chosen" --seeds "$seeds" --seed 1000 \
    ${under[$condition]} --output-dir "full-table/$condition/$group" "$@"
done
cd "$here/.." && python -m scripts.comparisons "$OLDPWD/full-table/$condition"/*
