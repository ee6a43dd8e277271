/**
 * Seeded mutations of kernel-made images, signed again so that no checksum gives them away. What 1.1.0 refuses, we refuse.
 * We refuse more than it does (docs/format/tools.md, section 8, tells what it does not look at: for one, it cuts block
 * numbers to 32 bits), and then say where, with which effect, and what to do.
 *
 * PDATA_MUTATIONS=N makes N of each image instead of 25; half a second each, most of it the real tool's.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { fixture, openScratch, requireTools, runOurTool, runRealToolAside } from '../src/index.js';
import { type BlockKind, ImageSurgery } from './image-surgery.js';

const NR_BLOCKS = 1024;
const FIXTURES = ['thin-basic', 'thin-metasnap', 'thin-powercut'] as const;
const NR_MUTATIONS = Number(process.env.PDATA_MUTATIONS ?? 25);

function randomOf(seed: number): (below: number) => number {
  let state = seed | 0;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/** Blocks that something refers to, with their kinds: what an image is made of. */
function usedBlocks(image: ImageSurgery): { nr: number; kind: BlockKind }[] {
  const kinds = new Map<number, BlockKind>([[0, 'superblock']]);
  for (const nr of [image.dataBitmap, image.metadataBitmap]) kinds.set(nr, 'bitmap');
  kinds.set(image.metadataIndex, 'index');
  const held = image.u64(0, 56);
  if (held > 0) kinds.set(held, 'superblock');
  return Array.from({ length: NR_BLOCKS }, (_, nr) => nr)
    .filter((nr) => image.count(image.metadataBitmap, nr) > 0)
    .map((nr) => ({ nr, kind: kinds.get(nr) ?? 'node' }));
}

/** Changes one field or bit that has a meaning. @returns what was done */
function mutate(image: ImageSurgery, random: (below: number) => number): string {
  const blocks = usedBlocks(image);
  const { nr, kind } = blocks[random(blocks.length)]!;
  const headers: Record<BlockKind, number[]> = {
    superblock: [4, 8, 40, 44, 48, 56, 64, 72, 80, 88, 192, 200, 208, 216, 320, 328, 336],
    node: [4, 8, 16, 20, 24],
    bitmap: [8],
    index: [8, 16, 24, 28],
  };
  const isNode = kind === 'node';
  const nrEntries = isNode ? image.u32(nr, 16) : 0;
  let at: number;
  if (isNode && nrEntries > 0 && random(3) > 0) {
    const size = image.u32(nr, 24);
    const values = 32 + 8 * image.u32(nr, 20);
    at = random(2) === 0 ? 32 + 8 * random(nrEntries) : values + size * random(nrEntries) + 4 * random(size / 4);
  } else if (kind === 'bitmap' && random(4) > 0) at = 16 + 4 * random(64);
  else at = headers[kind][random(headers[kind].length)]!;
  const old = image.u32(nr, at);
  const changes = [old ^ (1 << random(32)), old + 1, old - 1, 0, 0xffffffff, random(NR_BLOCKS), image.u32(nr, at ^ 4)];
  const value = changes[random(changes.length)]! >>> 0;
  image.setU32(nr, kind, at, value);
  return `${kind} in block ${nr}: ${old} at byte ${at} becomes ${value}`;
}

describe.runIf(requireTools()).each(FIXTURES)('mutations of %s', { concurrent: true }, (name) => {
  it(`(${NR_MUTATIONS} of them) have verdicts no milder than those of 1.1.0`, async () => {
    using scratch = openScratch();
    const original = fixture(name).metadata();
    const milder: string[] = [];
    const stricter: string[] = [];
    const judge = async (seed: number): Promise<void> => {
      const image = new ImageSurgery(Uint8Array.from(original));
      const done = `seed ${seed}: ${mutate(image, randomOf(seed * 7919 + name.length))}`;
      if (Buffer.from(image.bytes).equals(original)) return;
      const path = scratch.path(`${seed}.img`);
      writeFileSync(path, image.bytes);
      const ours = await runOurTool('thin_check', [path]);
      const theirs = await runRealToolAside('1.1.0', 'thin_check', [path]);
      expect(ours.stderr, done).not.toMatch(/bug in pdata|RangeError|TypeError/);
      expect(readFileSync(path).equals(image.bytes), `${done}: the input is as it was`).toBe(true);
      if (ours.status === 0 && theirs.status !== 0) milder.push(`${done}: theirs ${theirs.stderr}`);
      if (ours.status !== 0 && theirs.status === 0) {
        expect(ours.stderr, done).toMatch(
          /^(fatal|leak|bad checksum in superblock): .*\b(block|blocks|device|bitmap|superblock)\b/m,
        );
        expect(ours.stderr, done).toMatch(/^ {2}effect: /m);
        expect(ours.stderr, done).toMatch(/^ {2}next step: /m);
        stricter.push(`${done}: ${ours.stderr.match(/^(fatal|leak): .*$/m)?.[0]}`);
      }
      rmSync(path);
    };
    const seeds = Array.from({ length: NR_MUTATIONS }, (_, index) => index + 1);
    while (seeds.length > 0) await Promise.all(seeds.splice(0, 8).map(judge));
    expect(milder).toEqual([]);
    if (process.env.PDATA_MUTATIONS !== undefined) console.log(stricter.join('\n'));
  });
});
