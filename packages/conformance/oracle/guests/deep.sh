# Works on the deep, shared trees of thin-large: data goes to dm-zero, so only the metadata counts.
#   VOLUMES   ids of volumes to activate; each is written, discarded in part, snapshotted as NEW, NEW+1, …, and goes on
#   DELETE    ids to delete at the end
#   SEED      chooses the places
modprobe dm-zero
dmsetup create data --table "0 1073741824 zero"
DATA_DEVICE=/dev/mapper/data pool 1073741824 128 skip_block_zeroing || exit 1
export IOGEN_DIRECT=1
new=$NEW
for id in $VOLUMES; do
  volume "$id" 1073741824 || exit 1
  random write "$id" "$SEED" 300 65536 0 1966080000
  random discard "$id" "$SEED" 40 4194304 0 1966080000
  snapshot $new "$id"
  random write "$id" "${SEED}1" 300 65536 0 549755813888
  new=$((new + 1))
done
for id in $DELETE; do message "delete $id"; done
status
close $VOLUMES
sync
dmesg | grep -i 'device-mapper.*\(error\|fail\|corrupt\|read-only\|needs_check\)' | sed 's/^/= complaint /'
exit 0
