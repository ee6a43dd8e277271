/** Our thin_dump prints, byte for byte, what thin_dump 1.1.0 prints. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  FIXTURE_NAMES,
  fixture,
  goldens,
  mappingLines,
  openScratch,
  readDump,
  requireTools,
  runOurTool,
  runRealToolAside,
} from '../src/index.js';
import { firstDifference } from './first-difference.js';

describe.each(FIXTURE_NAMES)('our thin_dump of %s', (name) => {
  it('prints what 1.1.0 prints, for every option', async () => {
    using scratch = openScratch();
    const image = fixture(name).writeMetadata(scratch.path('meta.img'));
    for (const { options, output } of goldens(name)) {
      const ours = await runOurTool('thin_dump', [...options, image]);
      expect({ options, status: ours.status, stderr: ours.stderr }).toEqual({ options, status: 0, stderr: '' });
      expect({ options, difference: firstDifference(ours.stdout, Buffer.from(output()).toString()) }).toEqual({
        options,
        difference: undefined,
      });
    }
    expect(readFileSync(image).equals(fixture(name).metadata()), 'the input is as it was').toBe(true);
  });

  it('writes the same into a file', async () => {
    using scratch = openScratch();
    const image = fixture(name).writeMetadata(scratch.path('meta.img'));
    const golden = goldens(name).find(({ options }) => options.length === 0)!;
    const ours = await runOurTool('thin_dump', ['-o', scratch.path('dump.xml'), image]);
    expect(ours).toEqual({ status: 0, stdout: '', stderr: '' });
    const difference = firstDifference(
      readFileSync(scratch.path('dump.xml'), 'utf8'),
      Buffer.from(golden.output()).toString(),
    );
    expect(difference).toBeUndefined();
  });

  it.runIf(requireTools())('has the mappings of 0.9.0', async () => {
    using scratch = openScratch();
    const image = fixture(name).writeMetadata(scratch.path('meta.img'));
    const ours = await runOurTool('thin_dump', [image]);
    const old = await runRealToolAside('0.9.0', 'thin_dump', [image]);
    const difference = firstDifference(mappingLines(readDump(ours.stdout)), mappingLines(readDump(old.stdout)));
    expect(difference).toBeUndefined();
  });
});
