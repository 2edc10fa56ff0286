#!/usr/bin/env bash
# Open-Sora 1.2 on VBench's prompts, from inside the official checkout or one of VideoSys. Any option of
# `navicache batch` may follow. Started again, it goes on where it stopped.
#
#   PROMPT_PATH=VBench_full_info.json SCORE_DIR=scores navicache_opensora_vbench.sh --mode slow
#
# PROMPT_PATH: VBench's list of prompts. VIDEO_PATH: the batch's folder, `vbench` unless set; its folder `videos` has
# {prompt}-{n}.mp4. SCORE_DIR (or SAVE_PATH): score the videos too, by the program of `pip install vbench`, and put
# its results there. SEEDS: videos of each prompt, 5 unless set. DIMENSIONS: those to score, with spaces between.
# NAVICACHE_THRESH, NAVICACHE_ALIGN_STEPS: as published. CKPT_DIR: weights.
set -euo pipefail
# shellcheck source=scripts/launch.sh
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

: "${PROMPT_PATH:?the path of VBench_full_info.json, from github.com/Vchitect/VBench}"
folder=${VIDEO_PATH:-vbench}
scores=${SCORE_DIR:-${SAVE_PATH:-}}
read -ra dimensions <<<"${DIMENSIONS:-subject_consistency background_consistency temporal_flickering \
motion_smoothness dynamic_degree aesthetic_quality imaging_quality object_class multiple_objects human_action color \
spatial_relationship scene appearance_style temporal_style overall_consistency}"

# plain VALUES…: VBench's program hands its arguments to a shell.
plain() {
    for value in "$@"; do
        case $value in
            -* | *[!A-Za-z0-9_./-]*)
                echo "vbench takes letters, digits and _ . / - in paths, found: $value" >&2
                exit 2
                ;;
        esac
    done
}

if [ -n "$scores" ]; then plain "$PROMPT_PATH" "$folder" "$scores" "${dimensions[@]}"; fi

arguments=(batch)
option --model opensora
for package in opensora videosys; do
    checkout NAVICACHE_OPENSORA_REPO "$package/__init__.py"
done
option --weights "${CKPT_DIR:-}"
option --output-dir "$folder"
option --name "{prompt}-{n}.mp4"
option --seeds "${SEEDS:-5}"
navicache "${arguments[@]}" "$@" -- "$PROMPT_PATH"

case " $* " in
    *" --dry-run "*) exit ;;
esac
if [ -z "$scores" ] || ! command -v vbench >/dev/null; then
    echo "to score the videos: pip install vbench, then SCORE_DIR=scores $(basename "$0")" >&2
    # What was asked for and cannot be done here is an error: 3 is navicache's code for a missing package.
    if [ -n "$scores" ]; then exit 3; fi
    exit
fi
# One by one: a dimension that fails leaves the results of those before it.
for dimension in "${dimensions[@]}"; do
    vbench evaluate --videos_path "$folder/videos" --dimension "$dimension" --full_json_dir "$PROMPT_PATH" \
        --output_path "$scores"
done
