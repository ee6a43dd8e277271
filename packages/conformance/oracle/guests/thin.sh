# Fixture: a pool of 64 MiB with volumes, snapshots of snapshots, discards and a deletion. SEED chooses the places.
# METASNAP=1 also holds a metadata snapshot and goes on writing; CRASH=1 loses the power in the middle of more work.
pool 131072 128
message "create_thin 0"; volume 0 65536
random write 0 "${SEED}1" 40 4096 0 33554432; random write 0 "${SEED}2" 60 65536 0 8388608
message "create_thin 7"; volume 7 2097152
random write 7 "${SEED}3" 10 4096 0 1048576; random write 7 "${SEED}4" 10 8192 536870912 4194304
snapshot 1 0; volume 1 65536
random write 0 "${SEED}5" 40 4096 0 33554432
snapshot 2 1; volume 2 65536
snapshot 3 0; snapshot 4 0
random write 1 "${SEED}6" 30 4096 0 33554432; random write 2 "${SEED}7" 30 4096 16777216 16777216
random write 0 "${SEED}8" 20 65536 0 4194304
random discard 0 "${SEED}9" 12 65536 0 8388608
random discard 2 "${SEED}9" 3 1048576 0 33554432
message "delete 3"
message "set_transaction_id 0 5"
volume 4 65536
if [ -n "$METASNAP" ]; then
  message "reserve_metadata_snap"
  random write 0 "${SEED}a" 20 4096 0 33554432
  message "create_thin 9"
fi
sync
sums 0 1 2 4
status
dmsetup table | sed 's/^/= table /'
if [ -n "$CRASH" ]; then
  snapshot 100 1; random write 2 "${SEED}b" 5 4096 0 33554432; sync
  random write 0 "${SEED}c" 100000 4096 0 33554432 &
  i=101
  while [ $i -lt 108 ]; do snapshot $i 2; random write 2 $i 5 4096 0 33554432; i=$((i + 1)); done
  echo b > /proc/sysrq-trigger
fi
close 0 1 2 4 7
sync
