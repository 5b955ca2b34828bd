#!/usr/bin/env bash
# Starts a worker of a pool in the foreground: deploy/worker.sh cpu|gpu [options of `prefect worker start`]
# On a GPU machine one worker a GPU: CUDA_VISIBLE_DEVICES=0 deploy/worker.sh gpu --limit 1
set -euo pipefail
if [[ $# -eq 0 || -z "${PREFECT_API_URL:-}" ]]; then
    echo "worker.sh: expected PREFECT_API_URL=http://SERVER:4200/api and a pool: worker.sh cpu|gpu" >&2
    exit 2
fi
export DO_NOT_TRACK=1 HF_HUB_DISABLE_TELEMETRY=1
PATH="$(dirname "$(command -v prefect)"):$PATH" # runs are started as `python`, which shall be the same installation
exec prefect --no-prompt worker start --pool "$1" "${@:2}"
