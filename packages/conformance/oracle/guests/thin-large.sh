# Fixture: deep trees and high sharing. The data device throws writes away, so that only the metadata is real.
modprobe dm-zero
dmsetup create data --table "0 1073741824 zero"
DATA_DEVICE=/dev/mapper/data pool 1073741824 128 skip_block_zeroing
for id in 0 1 2; do message "create_thin $id"; volume $id 1073741824; done
export IOGEN_DIRECT=1
random seq 0 "$SEED" 0 1048576 0 $((MAPPINGS * 65536 / 2 / 1048576 * 1048576))
random write 1 "$SEED" $((MAPPINGS / 4)) 65536 0 549755813888
random write 2 "$SEED" $((MAPPINGS / 4)) 65536 0 $((MAPPINGS * 65536))
new=10
for round in 1 2 3 4 5; do for id in 0 1 2; do
  snapshot $new $id
  new=$((new + 1))
  random write $id "$SEED$round" $((MAPPINGS / 50)) 65536 0 $((MAPPINGS * 65536 / 2))
done; done
random discard 0 "$SEED" 200 1048576 0 $((MAPPINGS * 65536 / 2))
message "delete 12"
status
close 0 1 2
sync
