#!/usr/bin/env bash
# Open-Sora 1.2 on VBench's prompts, from inside the official checkout or one of VideoSys: makes the videos and, with
# SCORE_DIR, scores them by `navicache eval vbench`, whose options may follow; without, by `navicache batch` and its options,
# only makes them. Started again, it resumes where it stopped.
#
#   SCORE_DIR=scores navicache_opensora_vbench.sh --mode slow
#
# VIDEO_PATH: a folder of finished videos ({prompt}-{n}.mp4) to score, or where they are made: `vbench` unless set; they are
# in its folder `videos`. SCORE_DIR (or SAVE_PATH): where the scores go. PROMPT_PATH: VBench's list of prompts; to score,
# that of the package vbench unless set. SEEDS: videos of each prompt, 5 unless set. DIMENSIONS: those to score, with spaces
# between. VBENCH_PYTHON: a Python that has vbench. NAVICACHE_THRESH, NAVICACHE_ALIGN_STEPS: as published. CKPT_DIR: weights.
set -euo pipefail
# shellcheck source=scripts/launch.sh
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

folder=${VIDEO_PATH:-vbench}
scores=${SCORE_DIR:-${SAVE_PATH:-}}

# of_the_model: options of the videos to make.
of_the_model() {
    option --model opensora
    for package in opensora videosys; do
        checkout NAVICACHE_OPENSORA_REPO "$package/__init__.py"
    done
    option --weights "${CKPT_DIR:-}"
    option --output-dir "$folder"
}

if [ -z "$scores" ]; then
    : "${PROMPT_PATH:?the path of VBench_full_info.json, from github.com/Vchitect/VBench}"
    arguments=(batch)
    of_the_model
    option --name "{prompt}-{n}.mp4"
    option --seeds "${SEEDS:-5}"
    exec navicache "${arguments[@]}" "$@" -- "$PROMPT_PATH"
fi

finished=
for video in "$folder"/*.mp4; do
    if [ -e "$video" ]; then finished=yes; fi
done
arguments=(eval vbench)
if [ -n "$finished" ]; then option --videos "$folder"; else of_the_model; fi
option --scores "$scores"
option --prompts "${PROMPT_PATH:-}"
option --seeds "${SEEDS:-5}"
option --dimensions "${DIMENSIONS:-}"
option --vbench-python "${VBENCH_PYTHON:-}"
exec navicache "${arguments[@]}" "$@"
