# A pool whose data device throws everything away, written by one writer and direct I/O, so that the order of its metadata
# operations is known. test/kernel-twin.test.ts does the same with our own and compares the trees, node by node.
modprobe dm-zero
dmsetup create data --table "0 134217728 zero"
DATA_DEVICE=/dev/mapper/data
export IOGEN_DIRECT=1
VOLUME=134217728
RANGE=$((40000 * 65536))
pool $VOLUME 128 skip_block_zeroing
message "create_thin 0"; volume 0 $VOLUME
# Deep enough for a root that was split twice, then thinned out.
random seq 0 1 0 65536 0 $RANGE
random discard 0 2 36 67108864 0 $RANGE
for i in 1 2 3 4 5; do snapshot $i 0; random write 0 1$i 300 65536 0 $RANGE; done
volume 3 $VOLUME; random write 3 3 800 65536 0 $RANGE
message "reserve_metadata_snap"
random write 3 4 400 65536 0 $RANGE
message "delete 2"; message "delete 4"
message "release_metadata_snap"
random discard 0 5 400 1048576 0 $RANGE
message "set_transaction_id 0 9"
# More devices than a leaf of the details tree holds, then fewer.
for i in $(seq 100 260); do message "create_thin $i"; done
for i in $(seq 100 3 250); do message "delete $i"; done
status
close 0 3
