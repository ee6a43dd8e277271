/** A seeded part of the fuzzer for every run of the tests; the rest is `npm run faultlab -- fuzz --long`. */
import { keptIo, run } from '@pdata/tools';
import { describe, expect, it } from 'vitest';
import { FUZZ_TARGETS } from '../src/fault-lab/fuzz-registry.js';
import { fuzzTarget } from '../src/fault-lab/fuzz-targets.js';

describe.each(FUZZ_TARGETS.map((target) => ({ ...target })))(
  'every reader of $name, on images whose fields were changed under right checksums',
  (target) => {
    it.each([1, 2, 10])('does its work or refuses it in words (seed %i)', async (seed) => {
      const { nrImages, outcomes, failures, slowest } = await fuzzTarget(target, seed);
      console.log(
        `${target.name}, seed ${seed}: ${nrImages} images, slowest run ${Math.round(slowest)} ms, ${JSON.stringify(outcomes)}`,
      );
      expect(failures).toEqual([]);
      let nrRefused = 0;
      for (const { name, every = 1 } of target.readers) {
        const { done, refused } = outcomes[name] ?? { done: 0, refused: 0 };
        expect(done + refused, name).toBeGreaterThanOrEqual(Math.floor(nrImages / every));
        nrRefused += refused;
      }
      expect(nrRefused).toBeGreaterThan(0);
    });
  },
);

it('has every command among its readers', async () => {
  const kept = keptIo();
  await run(['--help'], kept.io);
  const [, list = ''] = kept.stdout().split('commands:\n');
  const commands = [...list.matchAll(/^ {2}((?:serve )?\S+)/gm)].map(([, command]) => command as string);
  expect(commands).toContain('thin_check');
  const readers = FUZZ_TARGETS.flatMap((target) => target.readers.map(({ name }) => name));
  expect(commands.filter((command) => !readers.some((name) => name.startsWith(command)))).toEqual([]);
});
