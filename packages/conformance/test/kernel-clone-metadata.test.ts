/**
 * Clone metadata beside the kernel's: images that both format, byte for byte; what each makes of the other's; what both refuse; and
 * our check, dump, restore and repair, whose results the kernel activates.
 *
 * Covers "How to check an implementation" of docs/format/clone.md, 1 to 3 and 6, and of docs/format/array-and-bitset.md, 1 and 2.
 */
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { CloneMetadata, GeometryError, UnsupportedMetadataError } from '@pdata/clone';
import { BLOCK_SIZE, MemoryMetadataDevice } from '@pdata/device';
import { openFileMetadataDevice } from '@pdata/device/node';
import { keptIo, run } from '@pdata/tools';
import { beforeAll, describe, expect, it } from 'vitest';
import { cloneFixture } from '../src/clone-fixture.js';
import { type GuestFindings, requireKernel, runGuest } from '../src/kernel.js';
import { openScratch } from '../src/scratch.js';
import { CloneBlocks } from './clone-blocks.js';

async function tool(line: string): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const { io, stdout, stderr } = keptIo();
  return { exitCode: await run(line.split(' '), io), stdout: stdout(), stderr: stderr() };
}

describe('the clone that the kernel left half-way', () => {
  it('passes our check, with as many hydrated regions and used blocks as its status line says', async () => {
    using scratch = openScratch();
    const { metadata, status } = cloneFixture();
    const path = scratch.path('meta.img');
    writeFileSync(path, metadata());
    expect(status).toMatch(/^8 6\/1024 8 224\/4096 /);
    const { exitCode, stdout } = await tool(`clone_check ${path}`);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('REGIONS=4096\nHYDRATED_REGIONS=224\nMETADATA_FREE_BLOCKS=1018\n');
  });

  it('differs from its source where its destination was written, and only in hydrated regions', () => {
    const { metadata, source, destination } = cloneFixture();
    const clone = CloneMetadata.open(new MemoryMetadataDevice({ bytes: metadata(), readOnly: true }));
    const [before, after] = [source(), destination()];
    let nrWritten = 0;
    for (let regionNr = 0; regionNr < clone.nrRegions; regionNr++) {
      const region = after.subarray(4096 * regionNr, 4096 * (regionNr + 1));
      const isUntouched = region.every((byte) => byte === 0);
      if (!clone.isHydrated(regionNr)) expect(isUntouched, `region ${regionNr} of the destination`).toBe(true);
      else if (Buffer.compare(region, before.subarray(4096 * regionNr, 4096 * (regionNr + 1))) !== 0) nrWritten++;
    }
    expect(nrWritten).toBeGreaterThan(50);
  });
});

/** What both format: metadata blocks, sectors, sectors per region. */
const GEOMETRIES = [
  { disk: 'a', nrBlocks: 1024, targetSize: 327_683, regionSize: 8 },
  { disk: 'b', nrBlocks: 8, targetSize: 1, regionSize: 8 },
  { disk: 'c', nrBlocks: 16_321, targetSize: 8 * 32_576, regionSize: 8 },
  { disk: 'd', nrBlocks: 2048, targetSize: 8 * (252 * 32_576 + 1), regionSize: 8 },
  { disk: 'e', nrBlocks: 40_000, targetSize: 2 ** 31 + 5, regionSize: 2 ** 21 },
] as const;

/** Regions marked one after the other, each with a commit: beginnings, ends, and both array blocks of `a`. */
const MARKS = [
  [0, 1],
  [63, 66],
  [32_575, 32_576],
  [32_000, 33_000],
  [5, 6],
  [40_000, 40_960],
] as const;

describe.runIf(requireKernel())('metadata of a clone', () => {
  const scratch = openScratch();
  const kernels = (disk: string): string => scratch.path(`kernel-${disk}.img`);
  let findings: GuestFindings;

  /** Disks after those of GEOMETRIES. */
  const OURS = {
    f: 'formatted and marked by us',
    g: 'restored',
    h: 'repaired',
    i: 'of another region size',
    j: 'of version 2',
    k: 'the kernel begins, we go on, the kernel goes on',
    l: 'complete',
  } as const;

  function make(path: string, nrBlocks: number, bytes: Uint8Array = new Uint8Array(0)): string {
    writeFileSync(path, bytes);
    truncateSync(path, nrBlocks * BLOCK_SIZE);
    return path;
  }

  /** Formatted, then marked and committed, in one go: as one activation of the kernel's does it. */
  function marked(path: string, marks: readonly (readonly [number, number])[]): void {
    const device = openFileMetadataDevice(path, { mode: 'write' });
    const metadata = CloneMetadata.openOrFormat(device, { regionSize: 8, targetSize: 327_683 });
    for (const [begin, end] of marks) {
      metadata.setRangeHydrated(begin, end);
      metadata.preCommit();
      metadata.commit();
    }
    metadata.close();
    device.close();
  }

  beforeAll(async () => {
    for (const { disk, nrBlocks } of GEOMETRIES) make(kernels(disk), nrBlocks);
    for (const disk of Object.keys(OURS)) make(kernels(disk), 1024);
    marked(kernels('f'), MARKS);
    const xml = scratch.path('clone.xml');
    expect((await tool(`clone_dump -o ${xml} ${kernels('f')}`)).exitCode).toBe(0);
    expect((await tool(`clone_restore -i ${xml} -o ${kernels('g')}`)).exitCode).toBe(0);
    const damaged = make(scratch.path('damaged.img'), 1024, readFileSync(kernels('f')).fill(0xa5, 0, BLOCK_SIZE));
    const sizes = '--region-size 8 --target-size 327683';
    expect((await tool(`clone_repair ${sizes} -i ${damaged} -o ${kernels('h')}`)).exitCode).toBe(0);
    marked(kernels('i'), []);
    const blocks = new CloneBlocks(readFileSync(kernels('g')));
    writeFileSync(kernels('j'), blocks.setVersion(2).bytes);
    marked(kernels('l'), [[0, 40_961]]);

    const plan = [
      ...GEOMETRIES.flatMap(({ disk, targetSize, regionSize }) => [
        `activate ${disk} ${targetSize} ${regionSize}`,
        ...(disk === 'a' ? MARKS.map(([begin, end]) => `mark a ${8 * begin} ${8 * (end - begin)}`) : []),
        `remove ${disk}`,
      ]),
      ...['f', 'g', 'h', 'l'].flatMap((disk) => [`activate ${disk} 327683 8`, `remove ${disk}`]),
      'activate i 327683 16',
      'activate i 327675 8',
      'activate j 327683 8',
      'activate k 327683 8',
      'mark k 800 80',
      'remove k',
    ].join('\n');
    const disks = [...GEOMETRIES.map(({ disk }) => disk), ...Object.keys(OURS)].map(kernels);
    findings = await runGuest({ guest: 'clone-metadata', disks, env: { PLAN: plan } });
  }, 120_000);

  const status = (disk: string): string =>
    findings
      .all(disk)
      .filter((line) => line !== 'OK' && line !== 'ERROR')
      .at(-1) ?? '';

  it.each(GEOMETRIES.filter(({ disk }) => disk !== 'a'))(
    'of $targetSize sectors in regions of $regionSize on $nrBlocks blocks is formatted by us as by the kernel, byte for byte',
    ({ disk, ...sizes }) => {
      const device = new MemoryMetadataDevice({ nrBlocks: sizes.nrBlocks });
      const { nrMetadataBlocks, nrFreeMetadataBlocks, nrRegions } = CloneMetadata.format(device, sizes);
      expect(findings.all(disk)[0]).toBe('OK');
      expect(status(disk)).toContain(
        `8 ${nrMetadataBlocks - nrFreeMetadataBlocks}/${nrMetadataBlocks} ${sizes.regionSize} 0/${nrRegions} `,
      );
      const kernel = readFileSync(kernels(disk));
      const different = Array.from({ length: sizes.nrBlocks }, (_, nr) => nr).filter(
        (nr) =>
          Buffer.compare(
            kernel.subarray(nr * BLOCK_SIZE, (nr + 1) * BLOCK_SIZE),
            device.bytes.subarray(nr * BLOCK_SIZE, (nr + 1) * BLOCK_SIZE),
          ) !== 0,
      );
      expect(different, 'blocks that differ').toEqual([]);
    },
  );

  it('that both mark alike, commit by commit, has as many blocks in use, and the same in them', () => {
    const path = make(scratch.path('ours-a.img'), 1024);
    marked(path, MARKS);
    const [ours, kernel] = [new CloneBlocks(readFileSync(path)), new CloneBlocks(readFileSync(kernels('a')))];
    expect(kernel.hydrated()).toEqual(ours.hydrated());
    expect(status('a')).toMatch(/^8 7\/1024 8 1965\/40961 0 1 no_hydration /);
    // In each commit the kernel copies the array block first, and we the index above it: these two trade their places.
    expect(ours.reachable()).toHaveLength(kernel.reachable().length);
    expect(ours.reachable().at(-1)).toBe(kernel.reachable().at(-1));
    expect(ours.arrayValues()).toEqual(kernel.arrayValues());
    expect(ours.superblockFigures()).toEqual(kernel.superblockFigures());
  });

  it('that we formatted and marked is activated by the kernel, with our bits and our used blocks', () => {
    for (const disk of ['f', 'g', 'h']) {
      expect(findings.all(disk)[0], disk).toBe('OK');
      expect(status(disk), disk).toMatch(/^8 7\/1024 8 1965\/40961 0 1 no_hydration .* rw$/);
    }
    expect(status('l')).toMatch(/^8 7\/1024 8 40961\/40961 /);
  });

  it('of other sizes is refused by the kernel, and by us', () => {
    expect(findings.all('i')).toEqual(['ERROR', 'ERROR']);
    expect(findings.all('log').join('\n')).toContain("Region and/or target size don't match the ones in metadata");
    const device = new MemoryMetadataDevice({ bytes: new Uint8Array(readFileSync(kernels('i'))) });
    for (const asked of [{ regionSize: 16 }, { targetSize: 327_675 }]) {
      expect(() => CloneMetadata.open(device, asked)).toThrow(GeometryError);
    }
  });

  it('of another version is refused by the kernel, and by us', () => {
    expect(findings.all('j')).toEqual(['ERROR']);
    const device = new MemoryMetadataDevice({ bytes: new Uint8Array(readFileSync(kernels('j'))) });
    expect(() => CloneMetadata.open(device)).toThrow(UnsupportedMetadataError);
  });

  it('goes to and fro between the kernel and us, and is sound each time', async () => {
    const path = kernels('k');
    const expected = new Set(Array.from({ length: 10 }, (_, i) => 100 + i));
    const device = openFileMetadataDevice(path, { mode: 'write' });
    const metadata = CloneMetadata.open(device, { regionSize: 8, targetSize: 327_683 });
    expect(metadata.nrHydrated).toBe(expected.size);
    for (let regionNr = 0; regionNr < 40_961; regionNr += 1001) {
      metadata.setHydrated(regionNr);
      expected.add(regionNr);
      metadata.preCommit();
      metadata.commit();
    }
    metadata.close();
    device.close();
    expect((await tool(`clone_check ${path}`)).exitCode).toBe(0);

    const plan = 'activate a 327683 8\nmark a 160000 4096\nremove a';
    const found = await runGuest({ guest: 'clone-metadata', disks: [path], env: { PLAN: plan } });
    for (let regionNr = 20_000; regionNr < 20_512; regionNr++) expected.add(regionNr);
    expect(found.all('a').at(-1)).toMatch(new RegExp(`^8 7/1024 8 ${expected.size}/40961 `));
    expect((await tool(`clone_check ${path}`)).exitCode).toBe(0);
    const again = CloneMetadata.open(new MemoryMetadataDevice({ bytes: new Uint8Array(readFileSync(path)) }));
    const shown = Array.from({ length: 40_961 }, (_, nr) => nr).filter((nr) => again.isHydrated(nr));
    expect(shown).toEqual([...expected].sort((a, b) => a - b));
  }, 60_000);
});
