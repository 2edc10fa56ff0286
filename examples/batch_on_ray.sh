#!/usr/bin/env bash
# Many videos on all GPUs of this machine, or on its CPU cores where it has none, and what they add up to.
#   examples/batch_on_ray.sh [OPTIONS OF `navicache batch`]
# Run it again after any interruption: finished videos are kept.
set -euo pipefail
prompts=$(dirname "$0")/prompts.txt

navicache batch "$prompts" --output-dir batch --engine ray "$@"
navicache batch-report batch
