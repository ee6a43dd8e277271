/**
 * Makes the pools that check, dump and restore are measured on: mappings whose data blocks are a random permutation.
 *
 * Virtual blocks ascend in every device, as they must, but no two neighbours are neighbours on the data device: no range
 * forms, every mapping is a line of XML and an entry of its own, and the reference counts are visited in random order.
 * That is the worst case for all three programs and, for an old pool of virtual machines, not far from the truth.
 *
 *   node dist/make-random-pool.js MAPPINGS OUTPUT.xml [OUTPUT.img]
 *
 * The XML is streamed (a few MB of memory besides the permutation's four bytes a mapping) and the same arguments always
 * give the same bytes. With OUTPUT.img the real thin_restore 1.1.0 turns it into metadata: the image is then nobody's
 * home ground. PDATA_TPT_1X names that tool (see packages/conformance/README.md).
 */
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

export interface RandomPool {
  /** Mappings in all, spread evenly over the devices. */
  readonly nrMappings: number;
  /** Default 4. */
  readonly nrDevices?: number;
  /** Default 1; the same seed gives the same pool. */
  readonly seed?: number;
}

/** Writes the pool as thin_restore's XML. */
export function writeRandomPoolXml(path: string, { nrMappings, nrDevices = 4, seed = 1 }: RandomPool): void {
  const dataBlockOf = randomPermutation(nrMappings, seed);
  const file = openSync(path, 'w');
  const chunk = Buffer.allocUnsafe(1 << 20);
  let used = 0;
  const put = (line: string): void => {
    if (used + line.length > chunk.length) {
      writeSync(file, chunk, 0, used);
      used = 0;
    }
    used += chunk.write(line, used, 'latin1');
  };
  put(
    `<superblock uuid="" time="0" transaction="1" version="2" data_block_size="128" nr_data_blocks="${nrMappings}">\n`,
  );
  for (let device = 0; device < nrDevices; device++) {
    const first = Math.floor((nrMappings * device) / nrDevices);
    const end = Math.floor((nrMappings * (device + 1)) / nrDevices);
    put(
      `  <device dev_id="${device}" mapped_blocks="${end - first}" transaction="0" creation_time="0" snap_time="0">\n`,
    );
    for (let at = first; at < end; at++) {
      put(`    <single_mapping origin_block="${at - first}" data_block="${dataBlockOf[at]}" time="0"/>\n`);
    }
    put('  </device>\n');
  }
  put('</superblock>\n');
  writeSync(file, chunk, 0, used);
  closeSync(file);
}

/** An empty metadata image with room for the pool: half-full leaves would still fit. */
export function makeEmptyImage(path: string, nrMappings: number): void {
  writeFileSync(path, '');
  truncateSync(path, (Math.ceil(nrMappings / 126) + 1024) * 4096);
}

/** Fisher and Yates' shuffle, driven by splitmix32. */
function randomPermutation(length: number, seed: number): Uint32Array {
  const numbers = Uint32Array.from({ length }, (_, index) => index);
  let state = seed >>> 0;
  for (let last = length - 1; last > 0; last--) {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state ^ (state >>> 16);
    mixed = Math.imul(mixed, 0x21f0aaad);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x735a2d97);
    mixed = (mixed ^ (mixed >>> 15)) >>> 0;
    const other = Math.floor((mixed / 2 ** 32) * (last + 1));
    const kept = numbers[last]!;
    numbers[last] = numbers[other]!;
    numbers[other] = kept;
  }
  return numbers;
}

function main(): void {
  const [mappings, xml, image] = process.argv.slice(2);
  const nrMappings = Number(mappings);
  if (!Number.isSafeInteger(nrMappings) || nrMappings < 1 || xml === undefined) {
    console.error('usage: make-random-pool MAPPINGS OUTPUT.xml [OUTPUT.img]');
    process.exitCode = 2;
    return;
  }
  writeRandomPoolXml(xml, { nrMappings });
  if (image === undefined) return;
  makeEmptyImage(image, nrMappings);
  const cache = process.env.PDATA_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'pdata');
  const tool = process.env.PDATA_TPT_1X ?? join(cache, 'tools-1.1.0', 'pdata_tools');
  const { status, error } = spawnSync(tool, ['thin_restore', '-i', xml, '-o', image], { stdio: 'inherit' });
  if (error !== undefined)
    console.error(`cannot run ${tool}: ${error.message}; packages/conformance/oracle/install-tools brings it`);
  if (status !== 0) process.exitCode = 1;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) main();
