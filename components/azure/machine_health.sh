# Runs before boot.sh on a machine of an Azure scale set. replacement_limit.py writes the settings and the Python file above this line.
# A machine that does not answer Azure's health probe is replaced, so the answers start before anything that can fail.

answer_health_probes() {
  cat >"$ROOT/etc/systemd/system/gpuyard-health.service" <<UNIT
[Unit]
Description=Answers Azure's Application Health extension
[Service]
ExecStart=$(command -v python3) $HEALTH answer $BROKEN
Restart=always
RestartSec=5
DynamicUser=yes
OOMScoreAdjust=-900
[Install]
WantedBy=multi-user.target
UNIT
  systemctl daemon-reload
  systemctl enable gpuyard-health.service
  systemctl start --no-block gpuyard-health.service # this script is part of the boot, so it must not wait for other units
}

replace_machine() { # $1: what is broken. boot.sh calls it instead of a shutdown, after which Azure would keep the machine and bill it
  mkdir -p "$ROOT/run/gpuyard" && echo "$1" >"$ROOT/run/gpuyard/unhealthy"
  if python3 "$HEALTH" report "$REPORT_URL" "$CLIENT_ID" "$1"; then
    touch "$BROKEN"
    say "Azure replaces this machine within half an hour"
  else
    say "this machine stays, and costs money: its pool has replaced too many machines, or the report failed; delete it: az vmss delete-instances"
  fi
}

answer_health_probes
