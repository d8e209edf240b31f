#!/bin/sh
# Submits a job once per key, waits for its end and reacts to each exit code (docs/pipelines.md).
#   wait.sh KEY [JOB.yaml]
set -u
key=$1 job=${2:-nightly.yaml} left=20
while :; do
  gpuyard submit "$job" --request-key "$key" --wait --json > "run-$key.json"
  code=$?
  case $code in
    75) ;; # stopped, resumable: the same line starts the next attempt
    8) ;;  # lost sight, the job may still run: the same line looks for it and starts no second job
    *) exit $code ;; # 0: done; other codes need a person
  esac
  left=$((left - 1))
  [ $left -gt 0 ] || exit $code
  sleep 60
done
