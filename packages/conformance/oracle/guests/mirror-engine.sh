# What the kernel's mirror makes of legs that fail; test/kernel-mirror-engine.test.ts brings our engine there too.
#
#   /dev/vda   the log of the first mirror, /dev/vdb and /dev/vdc its legs: our engine has copied a part, the kernel copies the rest
#   /dev/vdd, /dev/vde   legs of the others, of 64 regions of 64 sectors, with the log in memory
#
# Findings: `finished STATUS` and `differing-bytes NUMBER`; then `step NAME: STATUS` and `did NAME TEXT` (what became of a request).
modprobe dm-mirror; modprobe dm-flakey

dmsetup create m --table "0 32768 mirror disk 2 /dev/vda 64 2 /dev/vdb 0 /dev/vdc 0 1 handle_errors" || exit 1
while ! dmsetup status m | grep -q ' 512/512 '; do sleep 0.1; done
result finished "$(dmsetup status m)"
dmsetup remove m
echo 3 > /proc/sys/vm/drop_caches
result differing-bytes "$(cmp -l /dev/vdb /dev/vdc | wc -l)"

good() { echo "0 4096 linear $1 0"; }
no_writes() { echo "0 4096 flakey $1 0 0 3600 1 error_writes"; }
# leg NAME TABLE: what a leg is on from now on.
leg() { dmsetup suspend --noflush --nolockfs "$1"; dmsetup reload "$1" --table "$2"; dmsetup resume "$1"; }
step() { result step "$1: $(dmsetup status m)"; }
# did NAME COMMAND …
did() { name=$1; shift; if "$@" > /dev/null 2>&1; then result did "$name" OK; else result did "$name" "Input/output error"; fi; }
write() { dd if=/dev/zero of=/dev/mapper/m bs=4096 seek="$1" count=1 oflag=direct conv=notrunc; }
read_() { dd if=/dev/mapper/m of=/dev/null bs=4096 skip="$1" count=1 iflag=direct; }
# up SYNC FEATURES
up() {
  dmsetup create a --table "$(good /dev/vdd)"; dmsetup create b --table "$(good /dev/vde)"
  dmsetup create m --table "0 4096 mirror core 2 64 $1 2 /dev/mapper/a 0 /dev/mapper/b 0 $2" || exit 1
}
gone() { dmsetup remove m; dmsetup remove a; dmsetup remove b; }

for mode in none handle keep; do
  case $mode in none) features= ;; handle) features="1 handle_errors" ;; keep) features="2 handle_errors keep_log" ;; esac
  up nosync "$features"; step $mode-fresh
  leg b "$(no_writes /dev/vde)"
  if [ $mode = handle ]; then
    write 0 > /dev/null 2>&1 & sleep 1; step $mode-held
    did $mode-read read_ 0; leg b "$(good /dev/vde)"
    dmsetup suspend m; wait $!; result did $mode-held $?; dmsetup resume m
    while ! dmsetup status m | grep -q ' 64/64 '; do sleep 0.1; done
  else
    did $mode-write write 0; step $mode-write
    did $mode-again write 0; did $mode-read read_ 0; step $mode-again
    did $mode-other write 80; step $mode-other
  fi
  step $mode-end
  gone

  up nosync "$features"
  leg a "0 4096 error"
  did $mode-read-default read_ 8; step $mode-read-default
  gone

  up nosync "$features"
  leg a "$(no_writes /dev/vdd)"; leg b "$(no_writes /dev/vde)"
  did $mode-dead write 0; step $mode-dead
  gone
done
# The leg that is copied from cannot be read.
dmsetup create a --table "0 4096 error"; dmsetup create b --table "$(good /dev/vde)"
dmsetup create m --table "0 4096 mirror core 2 64 sync 2 /dev/mapper/a 0 /dev/mapper/b 0 1 handle_errors"
sleep 2; step first-sync; did first-sync-read read_ 0
gone
exit 0
