/** States of a device as the number that each of its sectors is full of; each write has a number of its own. */
import { SECTOR_SIZE } from '@pdata/device';
import type { CrashMoment } from '@pdata/testing';

/** In a state: nobody knows, and nobody may ask (a discarded sector, for example). */
export const ANYTHING = -1;

export type SectorState = readonly number[];

/** `nr` sectors full of `value`. */
export function sectorsFullOf(value: number, nr = 1): Uint8Array {
  return new Uint8Array(new Uint32Array((nr * SECTOR_SIZE) / 4).fill(value).buffer);
}

/** @throws when a sector is of two writes */
export function valuesIn(bytes: Uint8Array, of: string): number[] {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  const perSector = SECTOR_SIZE / 4;
  return Array.from({ length: words.length / perSector }, (_, sector) => {
    const value = words[sector * perSector] as number;
    for (let word = 1; word < perSector; word++) {
      if (words[sector * perSector + word] !== value) throw new Error(`sector ${sector} of ${of} is torn`);
    }
    return value;
  });
}

/** A crash leaves in each sector what was promised, or what was begun since; sectors are independent of each other. */
export function judgeSectors(found: SectorState, { promised, begun }: CrashMoment<SectorState>): string | undefined {
  for (const [sector, value] of found.entries()) {
    const may = new Set([promised, ...begun].map((state) => state[sector] as number));
    if (!may.has(value) && !may.has(ANYTHING))
      return `sector ${sector} holds ${value}; allowed: ${[...may].join(', ')}`;
  }
  return undefined;
}
