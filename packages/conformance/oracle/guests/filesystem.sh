# Makes a file system on /dev/vda, fills it file by file, and takes it down. What has been synced is told at once, so that
# whoever takes a snapshot meanwhile knows what must be in it.
#
#   FILES, FILE_SIZE   how many, and bytes of the largest
#
# Findings: `made`, then `synced NAME SHA256` for each file and `removed NAME` for every fourth, `unmounted`.
# Needs the program mke2fs (--with mke2fs; that of busybox knows only ext2).
modprobe ext4 || exit 1
/sbin/mke2fs -q -t ext4 -F /dev/vda || exit 1
result made
mkdir -p /mnt
mount -t ext4 -o discard /dev/vda /mnt || exit 1
n=0
while [ $n -lt "$FILES" ]; do
  n=$((n + 1))
  mkdir -p /mnt/d$((n % 5))
  file=d$((n % 5))/f$n
  head -c $((FILE_SIZE * (n % 7 + 1) / 7 + n)) /dev/urandom | dd of=/mnt/$file bs=64k conv=fsync 2>/dev/null || exit 1
  result synced "$file" "$(sha256sum < /mnt/$file | cut -d' ' -f1)"
  if [ $((n % 4)) = 0 ]; then
    old=d$(((n - 2) % 5))/f$((n - 2))
    # Told first: a snapshot may fall before the removal or behind it.
    result removed "$old"
    rm /mnt/$old || exit 1
  fi
done
umount /mnt || exit 1
result unmounted
