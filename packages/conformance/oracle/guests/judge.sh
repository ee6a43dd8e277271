# Activates a pool that somebody else wrote, reads every volume, works on it, reads again and closes it.
#
#   POOL_SECTORS, BLOCK_SECTORS   the pool's table
#   VOLUMES                       "ID:SECTORS …", the volumes that exist
#   SEED                          chooses the places of writes and discards
#   WORK                          what to do between the two readings, a list of
#                                   write:ID          30 random writes of 4 KiB and 3 of 256 KiB
#                                   discard:ID        4 random discards of 512 KiB
#                                   snapshot:NEW:OF   snapshot:NEW of volume OF, activated
#                                   create:ID:SECTORS a new volume, activated
#                                   delete:ID         deactivated and deleted
#                                   transaction:FROM:TO, reserve, release (the metadata snapshot)
#
# Findings: `before ID SHA256` for every volume, `status …`, then `sum ID SHA256` and `status …` again.
sectors_of() { for pair in $VOLUMES; do if [ "${pair%%:*}" = "$1" ]; then echo "${pair#*:}"; fi; done; }
forget() { kept=; for pair in $VOLUMES; do if [ "${pair%%:*}" != "$1" ]; then kept="$kept $pair"; fi; done; VOLUMES=$kept; }
ids() { for pair in $VOLUMES; do echo "${pair%%:*}"; done; }

pool "$POOL_SECTORS" "$BLOCK_SECTORS" || exit 1
for pair in $VOLUMES; do volume "${pair%%:*}" "${pair#*:}" || exit 1; done
sums $(ids) | sed 's/^= sum/= before/'
status

step=0
for work in $WORK; do
  step=$((step + 1))
  do=${work%%:*} rest=${work#*:}
  id=${rest%%:*} of=${rest#*:}
  case $do in
    write)
      bytes=$(($(sectors_of "$id") * 512))
      random write "$id" "$SEED$step" 30 4096 0 $bytes
      random write "$id" "$SEED$step" 3 262144 0 $bytes ;;
    discard) random discard "$id" "$SEED$step" 4 524288 0 $(($(sectors_of "$id") * 512)) ;;
    snapshot) snapshot "$id" "$of"; VOLUMES="$VOLUMES $id:$(sectors_of "$of")"; volume "$id" "$(sectors_of "$id")" ;;
    create) message "create_thin $id"; volume "$id" "$of"; VOLUMES="$VOLUMES $id:$of" ;;
    delete) dmsetup remove "v$id"; message "delete $id"; forget "$id" ;;
    transaction) message "set_transaction_id $id $of" ;;
    reserve) message reserve_metadata_snap ;;
    release) message release_metadata_snap ;;
    *) echo "judge.sh does not know the work $do"; exit 2 ;;
  esac
done
if [ -n "$WORK" ]; then
  sync
  echo 3 > /proc/sys/vm/drop_caches
  sums $(ids)
  status
fi
close $(ids)
sync
dmesg | grep -i 'device-mapper.*\(error\|fail\|corrupt\|read-only\|needs_check\)' | sed 's/^/= complaint /'
exit 0
