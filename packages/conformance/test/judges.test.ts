/** The judges themselves: they agree with each other about the images that the kernel made. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  FIXTURE_NAMES,
  fixture,
  goldens,
  mappingLines,
  openScratch,
  readDump,
  realCheckComplaint,
  realDump,
  requireTools,
  runRealToolAside,
  volumeSum,
} from '../src/index.js';
import { firstDifference } from './first-difference.js';

describe('the goldens', () => {
  it.each(FIXTURE_NAMES)('of %s are whole', (name) => {
    expect(goldens(name).length).toBeGreaterThanOrEqual(19);
    for (const { output, sha256 } of goldens(name)) {
      expect(createHash('sha256').update(output()).digest('hex')).toBe(sha256);
    }
  });

  it.each(['thin-basic', 'thin-metasnap'] as const)(
    'of %s and the data image give the sums that the kernel read',
    (name) => {
      using scratch = openScratch();
      const data = fixture(name).writeData(scratch.path('data.img'));
      const plain = goldens(name).find(({ options }) => options.length === 0)!;
      const pool = readDump(Buffer.from(plain.output()).toString());
      const { sums } = fixture(name);
      expect(sums.size).toBe(4);
      for (const [devId, sum] of sums) expect(volumeSum(pool, devId, 65_536, data), `volume ${devId}`).toBe(sum);
    },
  );
});

describe.runIf(requireTools())('the real tools', () => {
  it.each(FIXTURE_NAMES)('both call %s clean and dump the same mappings', async (name) => {
    using scratch = openScratch();
    const image = fixture(name).writeMetadata(scratch.path('meta.img'));
    expect(await realCheckComplaint('0.9.0', image)).toBeUndefined();
    expect(await realCheckComplaint('1.1.0', image)).toBeUndefined();
    const old = await runRealToolAside('0.9.0', 'thin_dump', [image]);
    expect(old.status).toBe(0);
    const difference = firstDifference(
      mappingLines(readDump(await realDump(image))),
      mappingLines(readDump(old.stdout)),
    );
    expect(difference).toBeUndefined();
  });

  it.each(FIXTURE_NAMES)('version 1.1.0 still prints the goldens of %s', async (name) => {
    using scratch = openScratch();
    const image = fixture(name).writeMetadata(scratch.path('meta.img'));
    for (const { options, sha256 } of goldens(name)) {
      const { stdout } = await runRealToolAside('1.1.0', 'thin_dump', [...options, image]);
      expect(createHash('sha256').update(stdout).digest('hex'), options.join(' ')).toBe(sha256);
    }
  });
});
