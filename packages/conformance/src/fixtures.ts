/**
 * The pools that the real kernel made (fixtures/README.md says how), unpacked for a test: as bytes, or as files it may spoil.
 * The goldens beside them are what thin_dump 1.1.0 prints for them (`oracle/make-goldens.mjs`).
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';

export const FIXTURE_NAMES = ['thin-basic', 'thin-metasnap', 'thin-powercut', 'thin-large'] as const;
export type FixtureName = (typeof FIXTURE_NAMES)[number];

export interface Fixture {
  readonly name: FixtureName;
  /** The metadata device; a fresh copy each time. */
  metadata(): Uint8Array;
  /** The data device; thin-large has none. */
  data(): Uint8Array;
  /** Writes a copy of the metadata device. @returns `path` */
  writeMetadata(path: string): string;
  /** Writes a copy of the data device. @returns `path` */
  writeData(path: string): string;
  /** sha256 of whole volumes as the kernel read them, by thin id. */
  readonly sums: ReadonlyMap<number, string>;
}

/** One run of thin_dump 1.1.0 on a fixture. */
export interface Golden {
  readonly fixture: FixtureName;
  readonly options: readonly string[];
  /** Of the output, in hex. */
  readonly sha256: string;
  output(): Uint8Array;
}

const fixturePath = (name: string): string => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));

export function fixture(name: FixtureName): Fixture {
  const unpack = (file: string): Uint8Array => gunzipSync(readFileSync(fixturePath(`${name}/${file}`)));
  const write = (path: string, bytes: Uint8Array): string => {
    writeFileSync(path, bytes);
    return path;
  };
  return {
    name,
    metadata: () => unpack('meta.img.gz'),
    data: () => unpack('data.img.gz'),
    writeMetadata: (path) => write(path, unpack('meta.img.gz')),
    writeData: (path) => write(path, unpack('data.img.gz')),
    get sums() {
      return readSums(fixturePath(`${name}/sums`));
    },
  };
}

export function goldens(name: FixtureName): Golden[] {
  const index = JSON.parse(readFileSync(fixturePath('goldens/index.json'), 'utf8')) as (Golden & { file: string })[];
  return index
    .filter((golden) => golden.fixture === name)
    .map(({ fixture, options, sha256, file }) => ({
      fixture,
      options,
      sha256,
      output: () => brotliDecompressSync(readFileSync(fixturePath(`goldens/${file}`))),
    }));
}

/** Lines `vID SHA256`; others (parts of a volume) are left out. */
function readSums(path: string): Map<number, string> {
  if (!existsSync(path)) return new Map();
  const lines = readFileSync(path, 'utf8').matchAll(/^v(\d+) ([0-9a-f]{64})$/gm);
  return new Map(Array.from(lines, ([, id, sum]) => [Number(id), sum!]));
}
