# Activates mirrors on logs, one after the other, and says what the kernel makes of each; test/kernel-mirror-log.test.ts.
#
#   /dev/vda, /dev/vdb   the legs
#   TABLES   a line for each mirror: LOG SECTORS REGION_SIZE once|sync; LOG is a device without /dev/
#            once: looks at its status, and takes it down; sync: waits until all is in sync first
#
# Findings: `at-once STATUS` when it has just been activated, `at-end STATUS` before it goes; then
# `differing-bytes NUMBER` of the legs. Or `refused TABLE`.
modprobe dm-mirror

echo "$TABLES" | while read -r log sectors region until; do
  [ -n "$log" ] || continue
  if ! dmsetup create m --table "0 $sectors mirror disk 2 /dev/$log $region 2 /dev/vda 0 /dev/vdb 0 1 handle_errors" 2> /dev/null; then
    result refused "$log $sectors $region"
    continue
  fi
  result at-once "$(dmsetup status m)"
  if [ "$until" = sync ]; then
    while ! dmsetup status m | grep -Eq ' ([0-9]+)/\1 '; do sleep 0.1; done
  fi
  result at-end "$(dmsetup status m)"
  dmsetup remove m || exit 1
  echo 3 > /proc/sys/vm/drop_caches
  result differing-bytes "$(cmp -l /dev/vda /dev/vdb | wc -l)"
done || exit 1
sync
exit 0
