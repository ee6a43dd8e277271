/** The configuration of all tests, with bugs planted that the environment names: for the tests that show that tests fail on bugs. */
import { mergeConfig } from 'vitest/config';
import { plantingPlugin, type SourceEdit } from '../packages/conformance/test/planted/planted-source.js';
import base from './vitest.config.js';

const edits = JSON.parse(process.env.PDATA_PLANTED ?? '[]') as SourceEdit[];

export default mergeConfig(base, {
  plugins: [plantingPlugin(() => edits)],
  cacheDir: 'node_modules/.cache/vite-planted',
});
