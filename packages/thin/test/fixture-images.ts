/**
 * The images that a real kernel made, and what the real thin_dump 1.1.0 printed of them: both kept in packages/conformance
 * (fixtures/README.md there says how they came to be). Read-only copies in memory.
 */
import { readFileSync } from 'node:fs';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { MemoryMetadataDevice } from '@pdata/device';

const fixtures = new URL('../../conformance/fixtures/', import.meta.url);

export const FIXTURES = ['thin-basic', 'thin-metasnap', 'thin-powercut', 'thin-large'] as const;

const unpacked = new Map<string, Uint8Array>();

export function fixtureImage(name: string): MemoryMetadataDevice {
  let bytes = unpacked.get(name);
  if (bytes === undefined) {
    // A plain array: `slice` of a Buffer copies nothing.
    bytes = new Uint8Array(gunzipSync(readFileSync(new URL(`${name}/meta.img.gz`, fixtures))));
    unpacked.set(name, bytes);
  }
  return new MemoryMetadataDevice({ name, bytes, readOnly: true });
}

/** The same, as bytes that may be damaged. */
export const fixtureBytes = (name: string): Uint8Array => fixtureImage(name).bytes.slice();

export interface GoldenDump {
  readonly fixture: string;
  /** The command line's, without the image. */
  readonly options: readonly string[];
  readonly file: string;
}

export function goldenDumps(): readonly GoldenDump[] {
  return JSON.parse(readFileSync(new URL('goldens/index.json', fixtures), 'utf8')) as GoldenDump[];
}

export function goldenText({ file }: GoldenDump): string {
  return brotliDecompressSync(readFileSync(new URL(`goldens/${file}`, fixtures))).toString('latin1');
}
