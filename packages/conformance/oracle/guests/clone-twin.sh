# Does to a clone what OPERATIONS says, one a line; test/kernel-clone.test.ts does the same with our engine. The disks: metadata,
# source, destination.
#
#   create SECTORS REGION [ARGUMENT …]    activates it with what a table line has behind the devices
#   remove
#   message WORD …
#   write|discard SEED COUNT SIZE START LENGTH     iogen, past the page cache, with an fsync at the end
#   source|destination error, source|destination back     the device fails everything, or is itself again
#   hydrate REGIONS     waits until so many are hydrated
#   status, status noflush, events, sum
#
# Findings: `create|message|write|discard OK` or `… ERROR TEXT`, `log LINE` after a message, `status LINE`, `events NUMBER`, `sum 0 SHA256`.
modprobe dm-clone
modprobe dm-flakey
export IOGEN_DIRECT=1
for name in source destination; do
  disk=/dev/vdb; [ $name = source ] || disk=/dev/vdc
  sectors=$(cat "/sys/block/${disk#/dev/}/size")
  eval "${name}_back=\"0 $sectors linear $disk 0\""
  eval "${name}_error=\"0 $sectors flakey $disk 0 0 36000\"" # down for ten hours; the target "error" takes no flushes
  eval "dmsetup create $name --table \"\$${name}_back\""
done

# told NAME OUTPUT STATUS: how an operation went, and what the clone target logged of a message.
told() {
  if [ "$3" = 0 ]; then result "$1" OK; else result "$1" "$(echo "$2" | sed -n 's/.*failed: /ERROR /p' | head -1)"; fi
  [ "$1" = create ] || dmesg | sed -n 's/.*device-mapper: clone: \([0-9]*:[0-9]*: \)\{0,1\}/= log /p'
}

# table DEVICE TABLE: replaces it.
table() { dmsetup suspend "$1" && dmsetup load "$1" --table "$2" && dmsetup resume "$1"; }

echo "$OPERATIONS" | while read -r what first rest; do
  dmesg -c > /dev/null
  case $what in
    create)
      # shellcheck disable=SC2086
      said=$(dmsetup create c --table "0 $first clone /dev/vda /dev/mapper/destination /dev/mapper/source $rest" 2>&1)
      told create "$said" $? ;;
    remove) dmsetup remove c || exit 1 ;;
    message)
      # shellcheck disable=SC2086
      said=$(dmsetup message -- c 0 $first $rest 2>&1)
      told message "$said" $? ;;
    write | discard)
      # shellcheck disable=SC2086
      if iogen $what /dev/mapper/c $first $rest > /dev/null 2>&1; then result $what OK; else result $what ERROR; fi ;;
    source | destination)
      eval "table $what \"\$${what}_$first\"" || exit 1 ;;
    hydrate)
      until [ "$(dmsetup status --noflush c | cut -d' ' -f7 | cut -d/ -f1)" -ge "$first" ]; do sleep 0.05; done ;;
    status) dmsetup status ${first:+--$first} c | sed 's/^/= status /' ;;
    events) result events "$(dmsetup info -c --noheadings -o events c)" ;;
    sum) sync; echo 3 > /proc/sys/vm/drop_caches; result sum 0 "$(sha256sum < /dev/mapper/c | cut -d' ' -f1)" ;;
    '') ;;
    *) echo "clone-twin.sh does not know the operation $what"; exit 2 ;;
  esac
done || exit 1
for name in source destination; do dmsetup remove $name || exit 1; done
sync
exit 0
