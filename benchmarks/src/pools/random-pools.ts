/**
 * The pools that check, dump and restore work on, kept in a directory from one run to the next: making 8 M mappings takes
 * longer than measuring them.
 */
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeEmptyImage, writeRandomPoolXml } from '../make-random-pool.js';
import type { Contender } from './thin-tools.js';

export interface RandomPoolFiles {
  readonly nrMappings: number;
  readonly xml: string;
  readonly image: string;
}

/** @param maker restores the image, preferably not the one that is to look good: 1.1.0, when it is there */
export async function randomPool(
  directory: string,
  nrMappings: number,
  seed: number,
  maker: Contender,
): Promise<RandomPoolFiles> {
  mkdirSync(directory, { recursive: true });
  const base = join(directory, `random-${nrMappings}-seed${seed}`);
  const [xml, image] = [`${base}.xml`, `${base}.img`];
  if (!existsSync(xml)) {
    writeRandomPoolXml(`${xml}.part`, { nrMappings, seed });
    renameSync(`${xml}.part`, xml);
  }
  if (!existsSync(image)) {
    const part = `${image}.part`;
    makeEmptyImage(part, nrMappings);
    const { exitCode, stderr } = await maker.run('thin_restore', ['-i', xml, '-o', part]);
    if (exitCode !== 0) {
      rmSync(part);
      throw new Error(`thin_restore of ${maker.name} could not make ${image} (exit code ${exitCode}): ${stderr}`);
    }
    renameSync(part, image);
  }
  return { nrMappings, xml, image };
}
