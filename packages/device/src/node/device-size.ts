/**
 * How many bytes an open regular file or block device holds, and in what pieces.
 *
 * `stat` answers for files and says 0 for block devices, and Node has neither `lseek` nor `ioctl`. Linux writes the size
 * of a block device, in sectors of 512 bytes whatever the device's own are, to /sys/dev/block/MAJOR:MINOR/size.
 */
import { fstatSync, readFileSync } from 'node:fs';
import { DeviceError } from '../errors.js';

const SECTOR_SIZE = 512;

/** @throws {@link DeviceError} when a block device's size cannot be found out */
export function sizeInBytes(fd: number, name: string): number {
  const stats = fstatSync(fd, { bigint: true });
  if (stats.isFile()) return Number(stats.size);
  const file = `/sys/dev/block/${majorMinor(stats.rdev)}/size`;
  try {
    const sectors = Number.parseInt(readFileSync(file, 'latin1'), 10);
    if (Number.isSafeInteger(sectors * SECTOR_SIZE)) return sectors * SECTOR_SIZE;
  } catch (cause) {
    throw new DeviceError(`cannot find out the size of block device ${name}: no answer in ${file}`, { cause });
  }
  throw new DeviceError(`cannot find out the size of block device ${name}: no number in ${file}`);
}

/**
 * The bytes that a block device reads and writes at least, and by which direct I/O must be aligned: 512, or 4096 on many
 * newer disks. A partition has its disk's. 512 where the system does not say.
 */
export function logicalBlockSize(fd: number): number {
  const device = `/sys/dev/block/${majorMinor(fstatSync(fd, { bigint: true }).rdev)}`;
  for (const file of [`${device}/queue/logical_block_size`, `${device}/../queue/logical_block_size`]) {
    try {
      const size = Number.parseInt(readFileSync(file, 'latin1'), 10);
      if (size >= SECTOR_SIZE) return size;
    } catch {
      // a partition has no queue of its own
    }
  }
  return SECTOR_SIZE;
}

/**
 * "8:1" for the number that `stat` gives. Linux packs it, low bits first, as 8 bits of minor, 12 of major,
 * 12 more of minor… (glibc's makedev(3): the rest of the major above bit 44).
 */
function majorMinor(rdev: bigint): string {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & ~0xffn & 0xffffffffn);
  return `${major}:${minor}`;
}
