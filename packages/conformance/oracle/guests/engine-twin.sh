# Does to a new pool what OPERATIONS says, one a line; test/kernel-engine.test.ts does the same with our engine.
#
#   POOL_SECTORS   size of the data device; VOLUME_SECTORS   of every volume; FEATURES of the pool, if any
#
#   message WORD …          sends it to the pool; volumes that it snapshots are suspended meanwhile if they are active
#   open ID, close ID       activates, deactivates a volume
#   write ID SEED COUNT SIZE, discard ID SEED COUNT SIZE     iogen
#   status                  of the pool and of the active volumes
#
# Findings: `message OK` or `message ERROR TEXT`, `log LINE` after a message, `status NAME: LINE`; at the end `sum ID SHA256`.
export IOGEN_DIRECT=1
# shellcheck disable=SC2086
pool "$POOL_SECTORS" 128 $FEATURES
bytes=$((VOLUME_SECTORS * 512))
dmesg -c > /dev/null

send() {
  if said=$(dmsetup message -- pool 0 "$@" 2>&1); then result message OK; else result message "$(echo "$said" | sed -n 's/.*failed: /ERROR /p')"; fi
  dmesg -c | sed -n 's/.*device-mapper: [a-z ]*: \([0-9]*:[0-9]*: \)\{0,1\}/= log /p'
}

echo "$OPERATIONS" | while read -r what id rest; do
  case $what in
    message)
      # shellcheck disable=SC2086
      if [ "$id" = create_snap ] && [ -e "/dev/mapper/v${rest#* }" ]; then
        dmsetup suspend "v${rest#* }"; send $id $rest; dmsetup resume "v${rest#* }"
      else send $id $rest; fi ;;
    open) volume "$id" "$VOLUME_SECTORS" || exit 1 ;;
    close) dmsetup remove "v$id" || exit 1 ;;
    write | discard)
      # shellcheck disable=SC2086
      random $what "$id" $rest 0 $bytes || exit 1 ;;
    status) dmsetup status | sort | sed 's/^/= status /' ;;
    '') ;;
    *) echo "engine-twin.sh does not know the operation $what"; exit 2 ;;
  esac
done || exit 1
sync
echo 3 > /proc/sys/vm/drop_caches
for device in /dev/mapper/v*; do id=${device#/dev/mapper/v}; sums "$id"; dmsetup remove "v$id"; done
dmsetup remove pool
sync
dmesg | grep -i 'device-mapper.*\(error\|fail\|corrupt\|read-only\|needs_check\)' | sed 's/^/= complaint /'
exit 0
