# Activates clones over zeros (source and destination are the target "zero") on the disks that PLAN names, one step a line; a disk is
# its letter (a for /dev/vda):
#
#   activate DISK SECTORS REGION     with no_hydration; the kernel formats metadata that is all zero
#   mark DISK FIRST NUMBER           discards so many sectors, and commits
#   remove DISK
#
# Findings: `DISK OK|ERROR` after an activation, `log LINE` of what the kernel says to it, `DISK STATUS-LINE` before a removal.
modprobe dm-clone
modprobe dm-zero

echo "$PLAN" | while read -r what disk first second; do
  case $what in
    activate)
      dmesg -c > /dev/null
      for side in source destination; do dmsetup create "$side-$disk" --table "0 $first zero" || exit 1; done
      if dmsetup create "$disk" --table "0 $first clone /dev/vd$disk /dev/mapper/destination-$disk /dev/mapper/source-$disk $second 1 no_hydration"
      then result "$disk" OK
      else
        result "$disk" ERROR
        dmesg | sed -n 's/.*device-mapper: clone metadata: /= log /p; s/.*device-mapper: table: [0-9]*:[0-9]*: clone: /= log /p'
        for side in source destination; do dmsetup remove "$side-$disk"; done
      fi ;;
    mark) iogen discard "/dev/mapper/$disk" 1 1 $((second * 512)) $((first * 512)) $((second * 512)) || exit 1 ;;
    remove)
      dmsetup status "$disk" | sed "s/^[0-9]* [0-9]* clone /= $disk /"
      dmsetup remove "$disk" || exit 1
      for side in source destination; do dmsetup remove "$side-$disk" || exit 1; done ;;
    '') ;;
    *) echo "clone-metadata.sh does not know the step $what"; exit 2 ;;
  esac
done || exit 1
sync
exit 0
