import { BLOCK_SIZE, MemoryMetadataDevice, ReadOnlyError } from '@pdata/device';
import { NoSpaceError } from '@pdata/persistent-data';
import { crashImages, FaultyMetadataDevice, RecordingMetadataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { expectSound } from '../../../test/clone-image.js';
import {
  commit,
  expectSameBytes,
  fixtureBytes,
  newClone,
  REGION_SIZE,
  TWO_BLOCKS,
  thrownBy,
} from '../../../test/clones.js';
import { dumped, restored } from '../../../test/runs.js';
import { CloneMetadata } from '../../metadata/clone-metadata.js';
import { CloneXmlError } from './clone-xml.js';
import { CloneRestorer } from './restore.js';

const HEAD = '<superblock version="1" region_size="8" target_size="8000" nr_regions="1000">';
const xml = (body: string): string => `${HEAD}${body}</superblock>`;
const blank = (nrBlocks = 64): MemoryMetadataDevice => new MemoryMetadataDevice({ nrBlocks, name: 'new.img' });
const isBlank = ({ bytes }: MemoryMetadataDevice): boolean => bytes.subarray(0, BLOCK_SIZE).every((byte) => byte === 0);

describe('a restore', () => {
  it("brings a kernel's clone back as it was", () => {
    const original = new MemoryMetadataDevice({ bytes: fixtureBytes() });
    const device = blank(1024);
    const { text } = dumped(original);
    expect(restored(text, device)).toEqual({
      regionSize: 8,
      targetSize: 32_768,
      nrRegions: 4096,
      nrHydrated: 224,
      nrMetadataBlocks: 6,
      inDoubt: [],
    });
    expectSound(device);
    expect(dumped(device).text).toBe(text);
  });

  it('of a clone without a hydrated region is what formatting makes, byte for byte', () => {
    const { device } = newClone(TWO_BLOCKS);
    const other = blank();
    restored(dumped(device).text, other);
    expectSameBytes(other.bytes, device.bytes);
  });

  it('keeps any set of regions, in pieces of any length', () => {
    const { device, metadata } = newClone({ nrBlocks: 600, targetSize: 254 * 32_576 * REGION_SIZE + 1 });
    for (let i = 0; i < 300; i++) metadata.setRangeHydrated(i * 27_000, i * 27_000 + 1 + i);
    commit(metadata);
    const { text } = dumped(device);
    for (const pieceLength of [1, 997, 1 << 20]) {
      const other = blank(600);
      restored(text, other, pieceLength);
      expect(dumped(expectSound(other).device()).text).toBe(text);
    }
  });

  it('can be committed to afterwards', () => {
    const device = blank();
    restored(xml('<hydrated begin="3" end="5"/>'), device);
    const metadata = CloneMetadata.open(device);
    metadata.setHydrated(999);
    commit(metadata);
    expect(expectSound(device).hydrated()).toEqual([3, 4, 999]);
  });

  it('takes regions in doubt for not hydrated, and says so', () => {
    const device = blank();
    const { inDoubt, nrHydrated } = restored(
      xml('<hydrated begin="0" end="2"/><in_doubt begin="2" end="64"/><in_doubt begin="70" end="71"/>'),
      device,
    );
    expect(inDoubt).toEqual([
      { begin: 2, end: 64 },
      { begin: 70, end: 71 },
    ]);
    expect([nrHydrated, expectSound(device).hydrated()]).toEqual([2, [0, 1]]);
  });

  it('accepts comments, white space, a declaration, other orders and quotes, and no version', () => {
    const device = blank();
    restored(
      `<?xml version="1.0"?>\n<!-- by hand -->\n<superblock nr_regions='1000' target_size="8000"\n region_size="8">\n` +
        `  <hydrated end="9" begin="8"></hydrated>\n</superblock>\n\n`,
      device,
    );
    expect(expectSound(device).hydrated()).toEqual([8]);
  });

  it.each([
    ['', 'line 1, column 1 (byte 0): the text is empty: expected <superblock>'],
    [HEAD, 'the text ends inside <superblock>: is it complete?'],
    [`${HEAD}\n<hydrated begin="1"`, 'line 2, column 1 (byte 78): the text ends inside this tag'],
    ['<superblock uuid="" time="0"/>', "unknown attribute 'uuid' in <superblock>"],
    ['<pool/>', 'unknown element <pool>: is this the XML of a clone?'],
    ['<hydrated begin="1" end="2"/>', '<hydrated> at the beginning, expected <superblock>'],
    [xml('<hydrated begin="1"/>'), "attribute 'end' is missing in <hydrated>"],
    [xml('<hydrated begin="-1" end="3"/>'), "begin is '-1', expected a decimal number"],
    [xml('<hydrated begin="3" end="3"/>'), 'begin is 3 and end 3, which is exclusive: there is no region between'],
    [xml('<hydrated begin="4" end="3"/>'), 'there is no region between'],
    [xml('<hydrated begin="4" end="1001"/>'), 'region 1000 is outside the clone, which has 1000 (nr_regions)'],
    [
      xml('<hydrated begin="4" end="9"/><hydrated begin="8" end="9"/>'),
      'region 8 does not come after 8, the one before',
    ],
    [xml('<hydrated begin="4" end="9"/><in_doubt begin="8" end="10"/>'), 'must ascend and not overlap'],
    [`${xml('')}<superblock/>`, '<superblock> after the end of </superblock>'],
    [HEAD.replace('version="1"', 'version="2"'), 'version is 2, expected 1'],
    [HEAD.replace('region_size="8"', 'region_size="24"'), 'region_size is 24, expected a power of two from 8'],
    [HEAD.replace('target_size="8000"', 'target_size="0"'), 'target_size is 0, expected a whole number'],
    [
      HEAD.replace('nr_regions="1000"', 'nr_regions="999"'),
      'nr_regions is 999, but 8000 sectors in regions of 8 are 1000',
    ],
    [HEAD.replace('8000', '99999999999999999999'), 'target_size is 99999999999999999999, expected at most'],
  ])('refuses %s, with its place, and changes nothing', (text, says) => {
    const { device } = newClone();
    const before = device.bytes.slice();
    const error = thrownBy(() => restored(text, device));
    expect(error).toBeInstanceOf(CloneXmlError);
    expect(error.message).toContain(says);
    expect(error.message).toMatch(/^line \d+, column \d+ \(byte \d+\): /);
    expectSameBytes(device.bytes, before);
  });

  it('refuses a device that is too small before it takes memory for the regions, and one open for reading', () => {
    const many = 2 ** 31;
    const text = `<superblock region_size="8" target_size="${8 * many}" nr_regions="${many}"></superblock>`;
    const error = thrownBy(() => restored(text, blank()));
    expect(error).toBeInstanceOf(NoSpaceError);
    expect(error.message).toContain('new.img is too small for this metadata: its 64 blocks of 4096 bytes were used up');
    const readOnly = new MemoryMetadataDevice({ bytes: new Uint8Array(64 * BLOCK_SIZE), readOnly: true });
    expect(thrownBy(() => new CloneRestorer(readOnly))).toBeInstanceOf(ReadOnlyError);
  });

  it('that fails, at any write or flush, leaves no superblock', () => {
    const text = xml('<hydrated begin="3" end="500"/>');
    const unharmed = new FaultyMetadataDevice(newClone().device);
    restored(text, unharmed);
    for (const operation of ['write', 'flush'] as const) {
      for (let nth = 1; nth <= unharmed.nrDone(operation); nth++) {
        const { device } = newClone();
        const faulty = new FaultyMetadataDevice(device, { operation, nth });
        expect(() => restored(text, faulty), `${operation} ${nth}`).toThrow(/injected fault/);
        const isLastFlush = operation === 'flush' && nth === unharmed.nrDone('flush');
        const isFirst = operation === 'write' && nth === 1;
        // Then the old superblock stands, or the new one is written and not known to be durable.
        if (!isLastFlush && !isFirst) expect(isBlank(device), `${operation} ${nth}`).toBe(true);
      }
    }
  });

  it('that is interrupted by a loss of power leaves the old clone, no clone, or the new one', () => {
    const { device, metadata } = newClone({ targetSize: 5000 });
    metadata.close();
    const initial = device.bytes.slice();
    const recording = new RecordingMetadataDevice(device);
    restored(xml('<hydrated begin="3" end="500"/>'), recording);
    const seen = new Set<number>();
    for (const { bytes, description } of crashImages({ initial, operations: recording.operations, seed: 3 })) {
      const none = bytes.subarray(0, BLOCK_SIZE).every((byte) => byte === 0);
      seen.add(none ? 0 : expectSound({ bytes }, description).targetSize);
    }
    expect([...seen].sort((a, b) => a - b)).toEqual([0, 5000, 8000]);
  });
});
