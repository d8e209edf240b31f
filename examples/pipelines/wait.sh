#!/bin/sh
# Submits a job once for a key, waits for its end and does what each exit code asks for: docs/pipelines.md.
#   wait.sh KEY [JOB.yaml]
set -u
key=$1 job=${2:-nightly.yaml} left=20
while :; do
  gpuyard submit "$job" --request-key "$key" --wait --json > "run-$key.json"
  code=$?
  case $code in
    75) ;; # stopped, resumable: the same line starts the next attempt from the newest checkpoint
    8) ;;  # lost sight, and the job may still run: the same line looks for it, and never starts a second one
    *) exit $code ;; # 0 done; everything else is for people
  esac
  left=$((left - 1))
  [ $left -gt 0 ] || exit $code
  sleep 60
done
