/** The legs of a mirror that is opened or changed: what can be one, and how long the mirror is. */
import { type DataDevice, SECTOR_SIZE } from '@pdata/device';
import { MAX_LEGS, MIN_LEGS } from '../format/limits.js';
import { DiskLog } from '../log/disk-log.js';
import { LegError } from './errors.js';
import { Leg, Legs } from './legs.js';
import type { MirrorOptions } from './options.js';

/**
 * Sectors of the mirror.
 * @throws {RangeError} when the log was made for another length
 * @throws {@link LegError} when a leg is shorter
 */
export function lengthOf({ legs, log, length: asked }: MirrorOptions, name: string): number {
  if (legs.length < MIN_LEGS || legs.length > MAX_LEGS)
    throw new RangeError(`${name} is to have ${legs.length} legs: a mirror has ${MIN_LEGS} to ${MAX_LEGS}`);
  const room = legs.map(({ device, offset = 0 }, legNr) => {
    if (!Number.isSafeInteger(offset) || offset < 0)
      throw new RangeError(`the offset of leg ${legNr} of ${name} is a whole number of sectors, not ${offset}`);
    return device.size / SECTOR_SIZE - offset;
  });
  const length = asked ?? Math.min(...room);
  if (!Number.isSafeInteger(length))
    throw new RangeError(`the length of ${name} is a whole number of sectors, not ${length}`);
  for (const [legNr, sectors] of room.entries()) {
    if (sectors > 0 && sectors >= length) continue;
    const { device, offset = 0 } = legs[legNr] as MirrorOptions['legs'][number];
    throw new LegError(
      `leg ${legNr} of ${name} is too small: ${device.name} has ${device.size / SECTOR_SIZE} sectors, ` +
        `${offset === 0 ? 'and' : `${offset} of them before the mirror, which`} needs ${Math.max(1, length)}`,
    );
  }
  if (Math.ceil(length / log.regionSize) !== log.nrRegions) {
    throw new RangeError(
      `the log of ${name} is for ${log.nrRegions} regions of ${log.regionSize} sectors, but a mirror of ${length} sectors has ${Math.ceil(length / log.regionSize)}`,
    );
  }
  return length;
}

/** @param length sectors @throws {@link LegError} @throws {RangeError} for a `goodLeg` that is none */
export function legsOf(options: MirrorOptions, length: number): Legs {
  const { goodLeg } = options;
  const legs = new Legs(
    options.legs.map(({ device, offset = 0 }, legNr) => new Leg(legNr, device, offset * SECTOR_SIZE)),
    goodLeg,
  );
  legs.at(goodLeg);
  for (const { nr, device } of legs.all) requireLeg(legs, nr, device, length * SECTOR_SIZE, options);
  return legs;
}

/**
 * Checks that `device` can be leg `legNr`, beside the other legs that are there.
 * @param size bytes of the mirror
 * @throws {@link LegError}
 */
export function requireLeg(
  legs: Legs,
  legNr: number,
  device: DataDevice,
  size: number,
  { log, name = 'mirror' }: Pick<MirrorOptions, 'log' | 'name'>,
): void {
  const { offset } = legs.at(legNr);
  if (device.readOnly) throw new LegError(`leg ${legNr} of ${name} cannot be written to: ${device.name} is read-only`);
  if (device.size - offset < size) {
    throw new LegError(
      `leg ${legNr} of ${name} is too small: ${device.name} has ${device.size} bytes, and ${offset + size} are needed`,
    );
  }
  if (log instanceof DiskLog && log.isOn(device, offset)) {
    throw new LegError(
      `leg ${legNr} of ${name} and its log are on the same part of ${device.name}, and would overwrite each other: give each a device of its own`,
    );
  }
  for (const other of legs.all) {
    const overlaps = other.offset < offset + size && offset < other.offset + size;
    if (other.nr === legNr || other.isAway || other.device !== device || !overlaps) continue;
    throw new LegError(
      `legs ${other.nr} and ${legNr} of ${name} are the same: ${device.name}; give each leg a device of its own`,
    );
  }
}
