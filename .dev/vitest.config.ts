/**
 * One configuration for every test of the workspace. Workspace packages resolve to their source (`@pdata/source`), so a
 * test never runs yesterday's build.
 */
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { LongestFirst } from './longest-first.js';

const conditions = ['@pdata/source', 'module', 'node', 'development|production'];

export default defineConfig({
  root: fileURLToPath(new URL('..', import.meta.url)),
  cacheDir: 'node_modules/.cache/vite',
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: [
      '.dev/*.test.ts',
      'packages/*/{src,test}/**/*.test.ts',
      'benchmarks/{src,test}/**/*.test.ts',
      'examples/*/{src,test}/**/*.test.ts',
    ],
    exclude: ['**/node_modules/**', '**/dist/**'],
    pool: 'forks',
    // vitest leaves one core to itself; of two that would be half the machine. It has little to do.
    maxWorkers: '100%',
    sequence: { sequencer: LongestFirst },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
