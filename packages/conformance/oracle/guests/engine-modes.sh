# What the kernel's pool says of itself in each of its modes; test/kernel-engine-modes.test.ts brings our engine there too.
# Findings: `step NAME: LINE` (the pool's status), `did NAME TEXT` (what became of a request or message). Only data block 0 is
# never discarded: while there is no space, this kernel takes an empty flush for a write to the volume's first block.
modprobe dm-flakey
export IOGEN_DIRECT=1
BLOCK=65536

# fresh METADATA_BLOCKS DATA_BLOCKS [FEATURE …]: a new pool, its metadata behind a table that can be changed.
fresh() {
  dd if=/dev/zero of=/dev/vda bs=4096 count=1 conv=notrunc,fsync 2> /dev/null
  dmsetup create meta --table "0 $(($1 * 8)) linear /dev/vda 0"
  shift
  up "$@"
}
# up DATA_BLOCKS [FEATURE …]
up() {
  blocks=$1; shift
  dmsetup create pool --table "0 $((blocks * 128)) thin-pool /dev/mapper/meta /dev/vdb 128 0 $# $*" || exit 1
}
gone() { for id in "$@"; do dmsetup remove "v$id"; done; dmsetup remove pool; dmsetup remove meta; }
step() { result step "$1: $(dmsetup status pool)"; }
# did NAME COMMAND …
did() {
  name=$1; shift
  if said=$("$@" 2>&1); then result did "$name" OK; else result did "$name" "$(echo "$said" | sed -n 's/^write at [0-9]*: //p; s/.*ioctl.* failed: //p; s/^fsync: //p; s/^read: //p')"; fi
}
send() { dmsetup message pool 0 "$@"; }
# fill ID FIRST_BLOCK NR_BLOCKS
fill() { iogen seq "/dev/mapper/v$1" 1 0 $BLOCK $(($2 * BLOCK)) $(($3 * BLOCK)); }
look() { iogen read "/dev/mapper/v$1" 1 0 $BLOCK $(($2 * BLOCK)) $(($3 * BLOCK)); }
free() { iogen discard "/dev/mapper/v$1" 1 1 $(($3 * BLOCK)) $(($2 * BLOCK)) $(($3 * BLOCK)); }
# metadata TABLE: what the pool's metadata is on from now on.
metadata() { dmsetup suspend --noflush --nolockfs meta; dmsetup reload meta --table "$1"; dmsetup resume meta; }

# Writes wait for space: until a discard frees some, until it takes too long, until the pool has grown.
echo 60 > /sys/module/dm_thin_pool/parameters/no_space_timeout
fresh 1024 16
did create send create_thin 0; volume 0 8192
did fill fill 0 0 16; step full
fill 0 16 1 & sleep 1; step waiting
did read look 0 0 16; did overwrite fill 0 3 1
# A discard that is passed down gives its blocks back only with the commit after its own: the status line asks for one.
did free free 0 4 2; dmsetup status pool > /dev/null; wait $! && result did waited OK; step freed
did fill-again fill 0 17 1; step full-again
echo 1 > /sys/module/dm_thin_pool/parameters/no_space_timeout
did timed-out fill 0 20 1; step timed-out
did message send create_thin 1
dmsetup suspend pool; dmsetup reload pool --table "0 3072 thin-pool /dev/mapper/meta /dev/vdb 128 0"; dmsetup resume pool
step grown; did write-grown fill 0 20 1; step used
gone 0

# Writes fail at once.
fresh 1024 4 error_if_no_space
did create send create_thin 0; volume 0 8192
did fill fill 0 0 4; did over fill 0 4 1; step error; did read-over look 0 0 1; did overwrite-over fill 0 1 1
did delete send delete 0; did free free 0 2 1; did refill fill 0 9 1; step refilled
dmsetup remove v0; did delete send delete 0; step empty
gone

# Read-only by request.
fresh 1024 8
did create send create_thin 0; volume 0 8192; did fill fill 0 0 2
did snap send create_snap 1 0
dmsetup remove v0; dmsetup remove pool; up 8 read_only; volume 0 8192; volume 1 8192
step read-only; did read look 0 0 3; did unmapped fill 0 5 1; did shared fill 0 0 1; did discard free 0 0 1; did message send create_thin 2
step still-read-only
dmsetup remove v0; dmsetup remove v1; dmsetup remove pool; up 8 ; volume 0 8192
step write-again

# The metadata device takes no writes any more: a message succeeds, its commit does not.
metadata "0 8192 flakey /dev/vda 0 0 3600 1 error_writes"
did message send create_thin 3
step commit-failed
did message-after send create_thin 4; did read-after look 0 0 3; did write-after fill 0 6 1
metadata "0 8192 linear /dev/vda 0"
dmsetup remove v0; dmsetup remove pool; up 8; step needs-check
dmsetup remove pool; dmsetup remove meta

# Neither does it give any back.
fresh 1024 8
did create send create_thin 0; volume 0 8192; did fill fill 0 0 2
metadata "0 8192 error"
did message send create_thin 1
step failed; did read-failed look 0 0 1; result did thin-failed "$(dmsetup status v0)"
gone 0

# Metadata space runs out; a larger device brings the pool back.
fresh 64 64
nr=0; while [ $nr -lt 200 ] && send create_thin $nr 2> /dev/null; do nr=$((nr + 1)); done
result created $nr; did next send create_thin 999; step no-metadata
metadata "0 4096 linear /dev/vda 0"
dmsetup suspend pool; dmsetup resume pool; step metadata-grown; did create-after send create_thin 1000
dmsetup remove pool; dmsetup remove meta
