#!/usr/bin/env bash
# An official model without its weights, as a check of the set-up: the official code at small size with random weights.
# The video is noise; the report beside it is a real one.
#   examples/official_model.sh CHECKOUT [OPTIONS OF `navicache generate`]
set -euo pipefail
checkout=${1:?expected the folder of a checkout of Wan-Video/Wan2.1}

navicache generate --model wan --repo "$checkout" --weights random-small --frames 5 --output official.mp4 "${@:2}"
