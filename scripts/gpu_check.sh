#!/usr/bin/env bash
# Measure on a GPU, in one go, what caching costs and gains on the official Wan2.1-1.3B at 832x480x81 with random
# weights: nothing is downloaded. Run it inside the checkout, or pass --repo; results go to ./gpu-check.
#
#   git clone https://github.com/Wan-Video/Wan2.1 && cd Wan2.1 && …/scripts/gpu_check.sh
#
# Options: gpu_check.py --help.
set -euo pipefail
exec python3 "$(dirname "${BASH_SOURCE[0]}")/gpu_check.py" "$@"
