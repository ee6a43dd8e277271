/** How the fuzzer runs each command: on what, and with which options. A test sees to it that none is missing. */
import { seededRandom } from '@pdata/testing';
import { changedText } from './changed-text.js';
import { type CommandFiles, type CommandReader, commandReaders } from './command-readers.js';

const MIB = 2 ** 20;
/** As large as what a pool may say of itself; sparse. */
const DATA_SIZE = 2 ** 40;

const serving = (files: CommandFiles): string[] => ['--socket', `${files.image}.sock`];

/** The same changes for the same image. */
function randomOf({ bytes }: CommandFiles): () => number {
  let seed = 0;
  for (let at = 0; at + 4 <= bytes.byteLength; at += 4)
    seed = Math.imul(seed ^ ((bytes[at] as number) | ((bytes[at + 1] as number) << 8)), 0x01000193);
  return seededRandom(seed);
}

/** What `argv` prints of the image, changed, in a file. */
async function changedDump(files: CommandFiles, ...argv: readonly string[]): Promise<string> {
  const text = changedText(await files.output(...argv), randomOf(files));
  return files.file('changed.xml', new TextEncoder().encode(text));
}

/** A number of the image's superblock, as text: so that options are hostile, too. */
function field({ bytes }: CommandFiles, at: number, size: 4 | 8): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return size === 4 ? `${view.getUint32(at, true)}` : `${view.getBigUint64(at, true)}`;
}

const ALL_FIELDS = 'DEV,MAPPED_BLOCKS,EXCLUSIVE_BLOCKS,SHARED_BLOCKS,HIGHEST_BLOCK,TRANSACTION,CREATE_TIME,SNAP_TIME';

const OF_THIN: readonly CommandReader[] = [
  { name: 'thin_check', argv: ({ image }) => ['thin_check', image] },
  { name: 'thin_check --json', argv: ({ image }) => ['thin_check', '--json', image] },
  {
    name: 'thin_check --auto-repair',
    argv: ({ image }) => ['thin_check', '--auto-repair', image],
  },
  { name: 'thin_dump', argv: ({ image }) => ['thin_dump', image] },
  {
    name: 'thin_dump --repair',
    argv: (files) => [
      ...['thin_dump', '--repair', '--json'],
      ...['--data-block-size', field(files, 336, 4), '--nr-data-blocks', field(files, 64, 8), files.image],
    ],
    mayRefuseUsage: true,
  },
  {
    name: 'thin_dump --metadata-snap',
    argv: ({ image }) => ['thin_dump', '-m', '-f', 'human_readable', image],
  },
  { name: 'thin_ls', argv: ({ image }) => ['thin_ls', '-o', ALL_FIELDS, image] },
  {
    name: 'thin_restore of a changed dump',
    argv: async (files) => [
      ...['thin_restore', '-i', await changedDump(files, 'thin_dump', files.image)],
      ...['-o', files.zeros('restored', MIB)],
    ],
  },
  {
    name: 'thin_metadata_size of what the image says',
    argv: (files) => [
      ...['thin_metadata_size', '-b', `${field(files, 336, 4)}s`, '-s', `${field(files, 64, 8)}s`],
      ...['-m', field(files, 48, 8)],
    ],
    mayRefuseUsage: true,
  },
  {
    name: 'serve thin',
    argv: (files) => [
      ...['serve', 'thin', '--metadata', files.image],
      ...['--data', files.zeros('data', DATA_SIZE), ...serving(files)],
    ],
    serves: true,
    every: 10,
  },
];

const OF_CLONES: readonly CommandReader[] = [
  { name: 'clone_check', argv: ({ image }) => ['clone_check', image] },
  {
    name: 'clone_check --auto-repair',
    argv: ({ image }) => ['clone_check', '--auto-repair', '--json', image],
  },
  { name: 'clone_dump', argv: ({ image }) => ['clone_dump', image] },
  { name: 'clone_dump --repair', argv: ({ image }) => ['clone_dump', '--repair', '--json', image] },
  {
    name: 'clone_repair',
    argv: (files) => ['clone_repair', '-i', files.image, '-o', files.zeros('repaired', MIB)],
  },
  {
    name: 'clone_restore of a changed dump',
    argv: async (files) => [
      ...['clone_restore', '-i', await changedDump(files, 'clone_dump', files.image)],
      ...['-o', files.zeros('restored', MIB)],
    ],
  },
  {
    name: 'serve clone',
    argv: (files) => {
      const sectors = Number(field(files, 180, 8));
      const size = 512 * (sectors < 2 ** 30 ? sectors : 1000);
      return [
        ...['serve', 'clone', '--metadata', files.image, '--source', files.zeros('source', size)],
        ...['--destination', files.zeros('destination', size), ...serving(files)],
      ];
    },
    serves: true,
    every: 10,
  },
];

export const thinCommands = commandReaders(OF_THIN);
export const cloneCommands = commandReaders(OF_CLONES);

/** @param nrRegions of the mirror that the log belongs to */
export const mirrorCommands = (regionSectors: number, nrRegions: number) => {
  const size = regionSectors * nrRegions * 512;
  const legs = (files: CommandFiles): string[] =>
    ['leg-0', 'leg-1'].flatMap((name) => ['--leg', files.zeros(name, size)]);
  return commandReaders([
    { name: 'mirror_check', argv: ({ image }) => ['mirror_check', image] },
    {
      name: 'mirror_check of the mirror',
      argv: ({ image }) => [
        ...['mirror_check', '--json', '--region-size', `${regionSectors}`],
        ...['--length', `${regionSectors * nrRegions}`, image],
      ],
    },
    { name: 'mirror_dump', argv: ({ image }) => ['mirror_dump', image] },
    {
      name: 'mirror_dump, human readable',
      argv: ({ image }) => ['mirror_dump', '--format', 'human_readable', '--region-size', `${regionSectors}`, image],
    },
    {
      name: 'mirror_verify',
      argv: (files) => [
        ...['mirror_verify', ...legs(files)],
        ...['--log', files.image, '--region-sectors', `${regionSectors}`],
      ],
      every: 10,
    },
    {
      name: 'serve mirror',
      argv: (files) => [
        ...['serve', 'mirror', ...legs(files), '--log', files.image],
        ...['--region-sectors', `${regionSectors}`, ...serving(files)],
      ],
      serves: true,
      every: 10,
    },
  ]);
};
