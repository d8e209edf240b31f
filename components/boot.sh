# Runs at the first boot of a machine, on Google Cloud at every boot: checks its health, puts containers on the local disks, configures
# their logs. boot.py writes the settings above this line and documents them. A machine with broken hardware shuts itself down, or on Azure
# reports itself, and another takes its place. A machine with a broken image stays, without jobs, because every machine in its place would
# be broken too, and cost money.
set -uo pipefail

SCRATCH=$ROOT/scratch
FSTAB=$ROOT/etc/fstab

say() { echo "gpuyard: $*"; }

give_up() {
  if declare -F replace_machine >/dev/null; then # on Azure: machine_health.sh
    say "unhealthy: $*"
    replace_machine "$*"
  else
    say "unhealthy: $*; shutting down"
    shutdown -h now # the service or machine group then terminates or replaces the machine
  fi
  exit 1
}

keep_drained() {
  say "unhealthy image: $*; this machine takes no jobs and stays, because another with this image would be the same: change the pool's image"
  mkdir -p "$ROOT/run/gpuyard" && echo "$*" >"$ROOT/run/gpuyard/unhealthy"
  systemctl mask --runtime --now ecs.service >/dev/null 2>&1 # the agent that would offer the machine to jobs
  exit 1
}

pci_gpus() { # counts the GPUs on the PCI bus, also those that no driver finds; switches between GPUs have another class
  local device found=0
  for device in "$ROOT"/sys/bus/pci/devices/*; do
    [ "$(cat "$device/vendor" 2>/dev/null)" = 0x10de ] || continue
    case $(cat "$device/class" 2>/dev/null) in 0x0300* | 0x0302*) found=$((found + 1)) ;; esac
  done
  echo "$found"
}

count_gpus() { timeout 60 nvidia-smi -L 2>/dev/null | grep -c '^GPU '; }

check_gpus() {
  local found waited=0
  while found=$(count_gpus) || true; [ "$found" != "$GPUS" ]; do # drivers may still be loading
    if [ "$waited" -ge "$GPU_WAIT_S" ]; then
      [ "$found" != 0 ] || [ "$(pci_gpus)" -lt "$GPUS" ] || keep_drained "its driver finds none of the machine's $GPUS GPUs"
      give_up "nvidia-smi shows $found GPUs, this type of machine has $GPUS"
    fi
    sleep 5
    waited=$((waited + 5))
  done
}

count_fast_nics() {
  local device driver found=0
  for device in "$ROOT"/sys/class/infiniband/*; do
    driver=$(readlink -f "$device/device/driver") || continue
    [ "${driver##*/}" = "$NIC_DRIVER" ] || continue
    if [ -z "$NIC_LINK" ] || grep -qx "$NIC_LINK" "$device"/ports/1/link_layer 2>/dev/null; then found=$((found + 1)); fi
  done
  echo "$found"
}

# If some cards are missing, the machine is broken. If all are missing, the image has no driver, and a replacement would have none either:
# the machine keeps running, and the preflight refuses jobs that need the cards.
check_fast_nics() {
  local found
  [ "$FAST_NICS" -gt 0 ] || return 0
  modprobe "$NIC_DRIVER" || say "the image has no driver $NIC_DRIVER"
  found=$(count_fast_nics)
  if [ "$found" -eq 0 ]; then
    say "no network card with the driver $NIC_DRIVER, this type of machine has $FAST_NICS: the preflight will refuse multi-node jobs; use an image with the driver"
    return 0
  fi
  [ "$found" -ge "$FAST_NICS" ] || give_up "$found network cards with the driver $NIC_DRIVER, this type of machine has $FAST_NICS"
}

local_disks() { # prints each disk once, although /dev/disk/by-id has several names of it
  local name
  for name in "$ROOT"$DISKS; do # not quoted, because it is a pattern
    [ -e "$name" ] && readlink -f "$name"
  done | sort -u
}

remember() { grep -qF " $2 " "$FSTAB" 2>/dev/null || echo "$1 $2 $3 0 0" >>"$FSTAB"; }

bind() {
  mkdir -p "$1" "$2"
  mountpoint -q "$2" || mount --bind "$1" "$2" || give_up "cannot mount $1 at $2"
  remember "$1" "$2" "none bind,nofail,x-systemd.requires-mounts-for=$SCRATCH"
}

stripe() { # makes one device of all local disks and prints its path
  local array=$ROOT/dev/md0
  if [ "$#" -eq 1 ]; then echo "$1"; return; fi
  command -v mdadm >/dev/null || dnf install -y -q mdadm >&2 || apt-get install -y -q mdadm >&2
  if ! command -v mdadm >/dev/null; then
    say "no mdadm in this image: 1 of $# local disks is used" >&2
    echo "$1"
    return
  fi
  [ -e "$array" ] || mdadm --create "$array" --run --level=0 --raid-devices="$#" "$@" >&2 || return 1
  echo "$array"
}

set_up_scratch() { # returns 1 if the machine has no local disk
  local device disks
  if [ -n "$IMAGE_UNIT" ]; then systemctl start "$IMAGE_UNIT" 2>/dev/null || true; fi
  if [ -n "$IMAGE_MOUNT" ] && mountpoint -q "$ROOT$IMAGE_MOUNT"; then
    say "the image has mounted the local disks at $IMAGE_MOUNT"
    bind "$ROOT$IMAGE_MOUNT" "$SCRATCH"
    return 0
  fi
  if mountpoint -q "$SCRATCH"; then return 0; fi
  mapfile -t disks < <(local_disks)
  if [ "${#disks[@]}" -eq 0 ]; then
    say "no local disks: containers stay on the root disk"
    return 1
  fi
  device=$(stripe "${disks[@]}") || give_up "cannot stripe its ${#disks[@]} local disks"
  blkid "$device" >/dev/null || mkfs.xfs -q -L gpuyard "$device" || give_up "cannot make a file system on $device"
  mkdir -p "$SCRATCH"
  mount -t xfs -o noatime "$device" "$SCRATCH" || give_up "$device cannot be mounted"
  remember LABEL=gpuyard "$SCRATCH" "xfs noatime,nofail"
  say "${#disks[@]} local disks at $SCRATCH"
}

ship_output() { # sets Docker's log driver, which needs no agent and uses the machine's role
  python3 - "$ROOT/etc/docker/daemon.json" "$LOG_DRIVER" "$LOG_OPTIONS" <<'PYTHON' || keep_drained "cannot set Docker's log driver"
import json, os, sys

path, driver, options = sys.argv[1:]
settings = json.load(open(path)) if os.path.exists(path) else {}
settings.update({"log-driver": driver, "log-opts": json.loads(options)})
os.makedirs(os.path.dirname(path), exist_ok=True)
with open(path, "w") as file:
    json.dump(settings, file, indent=2)
PYTHON
}

# Some images start docker only after this script, and a start here would then wait for ever.
docker_waits() { systemctl show --property After docker.service 2>/dev/null | grep -q 'cloud-final\.service'; }

# The ECS agent's unit is PartOf docker and After cloud-final, so stopping docker here cancels the agent's start, and a start here must
# not wait: github.com/aws/amazon-ecs-agent, packaging/amazon-linux-ami-integrated/ecs.service and issue 1707, read on 2026-12-01.
start_agent() {
  if systemctl cat ecs.service >/dev/null 2>&1; then systemctl start --no-block ecs.service || keep_drained "the ECS agent cannot be started"; fi
}

are_set_up() { # $1: exit status of set_up_scratch. A later boot must not stop the containers that docker has started again
  if [ "$1" -eq 0 ]; then mountpoint -q "$ROOT/var/lib/docker" || return 1; fi
  [ -z "$LOG_DRIVER" ] || grep -qs "\"log-driver\": \"$LOG_DRIVER\"" "$ROOT/etc/docker/daemon.json"
}

set_up_containers() { # $1: exit status of set_up_scratch; 0 puts the containers at /scratch
  local name waits=0
  if ! command -v docker >/dev/null; then
    [ "$CONTAINERS" = optional ] || keep_drained "no docker in this image"
    say "no docker in this image: containers are not set up"
    return
  fi
  command -v nvidia-ctk >/dev/null || command -v nvidia-container-cli >/dev/null || keep_drained "no NVIDIA container toolkit in this image"
  if [ -e "$ROOT/etc/gpuyard-containers" ] && are_set_up "$1"; then
    say "containers are set up since an earlier boot"
    start_agent
    return
  fi
  if docker_waits; then waits=1; else systemctl stop docker.socket docker containerd 2>/dev/null || true; fi
  if [ "$1" -eq 0 ]; then
    for name in docker containerd; do bind "$SCRATCH/$name" "$ROOT/var/lib/$name"; done
  fi
  if [ -n "$LOG_DRIVER" ]; then ship_output; fi
  [ "$waits" -eq 1 ] || systemctl start containerd docker || keep_drained "docker does not start"
  touch "$ROOT/etc/gpuyard-containers"
  start_agent
}

check_gpus
check_fast_nics
set_up_scratch
set_up_containers "$?"
mkdir -p "$ROOT/run/gpuyard" && touch "$ROOT/run/gpuyard/ready"
say "healthy: $GPUS GPUs, $FAST_NICS fast network cards"
