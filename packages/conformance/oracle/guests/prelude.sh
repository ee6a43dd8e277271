# Put in front of every guest script that works on a thin pool (src/kernel.ts and make-fixtures join the files).
# The pool's metadata is /dev/vda and its data /dev/vdb; what a test wants to know is printed as `= KEY VALUE …`.
modprobe dm-thin-pool

result() { echo "= $*"; }

# pool SECTORS BLOCK_SECTORS [FEATURE …]: activates the pool; the kernel formats metadata that is all zero.
pool() {
  dmsetup create pool --table "0 $1 thin-pool /dev/vda ${DATA_DEVICE:-/dev/vdb} $2 0 $(($# - 2))$(shift 2; printf ' %s' "$@")"
}

# message WORD …: sends a message to the pool; says so when the kernel refuses it.
message() { dmsetup message pool 0 "$@" || result refused "$@"; }

# volume ID SECTORS: activates a volume as /dev/mapper/vID.
volume() { dmsetup create "v$1" --table "0 $2 thin /dev/mapper/pool $1"; }

# snapshot NEW ORIGIN: of a volume that is active or not.
snapshot() {
  if [ -e "/dev/mapper/v$2" ]; then dmsetup suspend "v$2"; fi
  message "create_snap $1 $2"
  if [ -e "/dev/mapper/v$2" ]; then dmsetup resume "v$2"; fi
}

# random MODE ID SEED COUNT SIZE START LENGTH: iogen on a volume.
random() { mode=$1 id=$2; shift 2; iogen "$mode" "/dev/mapper/v$id" "$@"; }

# sums ID …: the whole content of active volumes, as the kernel reads it.
sums() { for id in "$@"; do result sum "$id" "$(sha256sum < "/dev/mapper/v$id" | cut -d' ' -f1)"; done; }

status() { dmsetup status | sed 's/^/= status /'; }

# close ID …: takes the volumes and the pool down, so that the metadata on the disk is complete.
close() {
  for id in "$@"; do dmsetup remove "v$id"; done
  dmsetup remove pool
}
