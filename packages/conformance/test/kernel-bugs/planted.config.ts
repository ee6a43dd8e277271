/** The configuration of all tests, with bugs planted that the environment names: for kernel-bugs.test.ts alone. */
import { mergeConfig } from 'vitest/config';
import base from '../../../../.dev/vitest.config.js';
import { plantingPlugin, type SourceEdit } from '../planted-source.js';

const edits = JSON.parse(process.env.PDATA_PLANTED ?? '[]') as SourceEdit[];

export default mergeConfig(base, {
  plugins: [plantingPlugin(() => edits)],
  cacheDir: 'node_modules/.cache/vite-planted',
});
