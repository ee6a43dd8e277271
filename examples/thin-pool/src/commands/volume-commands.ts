/** Commands about volumes and snapshots: make, list, rename, resize, remove, snapshot, revert, diff. */
import type { Command } from '../command-line/command.js';
import { table } from '../command-line/table.js';
import type { ByteRange, PoolHost, VolumeReport } from '../pool-host.js';
import { quoted } from '../words/pool-error.js';
import { formatSize, parseSize, plural } from '../words/sizes.js';
import { asJson, DIR, JSON_FLAG, operand } from './operands.js';
import { withPool } from './with-pool.js';

export const volumeCreateCommand: Command = {
  name: 'volume create',
  summary: 'Make an empty volume. It takes space only as it is written.',
  operands: [
    DIR,
    { name: 'NAME', help: 'Its name.' },
    { name: 'SIZE', help: 'Its size, like 20G; may be more than the pool has.' },
  ],
  options: {},
  async run(args, io) {
    const size = parseSize(operand(args, 'SIZE'));
    const made = await withPool(operand(args, 'DIR'), (host) =>
      host.createVolume({ name: operand(args, 'NAME'), size }),
    );
    await io.out(`Made the volume ${quoted(made.name)} of ${formatSize(made.size)}.\n`);
    return 0;
  },
};

export const volumeListCommand: Command = {
  name: 'volume list',
  summary: 'List volumes and snapshots.',
  operands: [DIR],
  options: { json: JSON_FLAG },
  async run(args, io) {
    const volumes = await withPool(operand(args, 'DIR'), (host) => host.volumes());
    if (args.flags.has('json')) await io.out(asJson(volumes));
    else if (volumes.length === 0) await io.out('The pool has no volumes yet.\n');
    else await io.out(volumeTable(volumes));
    return 0;
  },
};

export function volumeTable(volumes: readonly VolumeReport[]): string {
  return table(
    [
      { title: 'NAME' },
      { title: 'KIND' },
      { title: 'SIZE', align: 'right' },
      { title: 'MAPPED', align: 'right' },
      { title: 'FROM' },
      { title: 'MADE' },
      { title: 'IN USE' },
    ],
    volumes.map(({ name, kind, size, mapped, origin, created, users }) => [
      name,
      kind,
      formatSize(size),
      formatSize(mapped),
      origin ?? '',
      created === 0 ? '' : new Date(created).toISOString().slice(0, 16).replace('T', ' '),
      users === 0 ? '' : 'yes',
    ]),
  );
}

export const volumeRenameCommand: Command = {
  name: 'volume rename',
  summary: 'Give a volume or a snapshot another name.',
  operands: [DIR, { name: 'NAME', help: 'Its name.' }, { name: 'NEW-NAME', help: 'The name it gets.' }],
  options: {},
  notes: 'Clients that have it open keep it; new ones find it under the new name.',
  async run(args, io) {
    const [name, to] = [operand(args, 'NAME'), operand(args, 'NEW-NAME')];
    const renamed = await withPool(operand(args, 'DIR'), (host) => host.renameVolume({ name, to }));
    await io.out(`${quoted(name)} is called ${quoted(renamed.name)} now.\n`);
    return 0;
  },
};

export const volumeResizeCommand: Command = {
  name: 'volume resize',
  summary: 'Make a volume larger, or with --shrink smaller.',
  operands: [
    DIR,
    { name: 'NAME', help: 'The volume.' },
    { name: 'SIZE', help: 'The new size, like 20G; or what is added, like +10G.' },
  ],
  options: { shrink: { kind: 'flag', help: 'Allow a smaller size: what lies behind it is lost.' } },
  notes: 'NBD clients see a new size when they connect again.',
  async run(args, io) {
    const [name, text] = [operand(args, 'NAME'), operand(args, 'SIZE')];
    const resized = await withPool(operand(args, 'DIR'), async (host) => {
      const before = text.startsWith('+') ? (await host.volume({ name })).size : 0;
      const size = before + parseSize(text.replace(/^\+/, ''));
      return await host.resizeVolume({ name, size, shrink: args.flags.has('shrink') });
    });
    await io.out(`${quoted(name)} has ${formatSize(resized.size)} now.\n`);
    return 0;
  },
};

export const volumeRemoveCommand: Command = {
  name: 'volume remove',
  summary: 'Remove a volume or a snapshot. What others share with it stays theirs.',
  operands: [DIR, { name: 'NAME', help: 'What is removed.' }],
  options: {},
  async run(args, io) {
    const name = operand(args, 'NAME');
    await withPool(operand(args, 'DIR'), (host) => host.removeVolume({ name }));
    await io.out(`Removed ${quoted(name)}.\n`);
    return 0;
  },
};

export const snapshotCommand: Command = {
  name: 'snapshot',
  summary: 'Take a snapshot, at once and whatever the size, also of a volume in use.',
  operands: [
    DIR,
    { name: 'ORIGIN', help: 'The volume (or snapshot) it is taken of.' },
    { name: 'NAME', help: 'Its name.' },
  ],
  options: { writable: { kind: 'flag', help: 'Make a volume with that content instead: it can be written to.' } },
  notes: 'A snapshot never changes; it can be sent, compared with, and reverted to.',
  async run(args, io) {
    const request = {
      origin: operand(args, 'ORIGIN'),
      name: operand(args, 'NAME'),
      writable: args.flags.has('writable'),
    };
    const taken = await withPool(operand(args, 'DIR'), (host) => host.snapshot(request));
    const what = taken.kind === 'snapshot' ? 'Took the snapshot' : 'Made the volume';
    await io.out(`${what} ${quoted(taken.name)} of ${quoted(request.origin)}.\n`);
    return 0;
  },
};

export const revertCommand: Command = {
  name: 'revert',
  summary: 'Give a volume the content of a snapshot, at once.',
  operands: [
    DIR,
    { name: 'VOLUME', help: 'The volume; must not be in use. What it holds now is lost.' },
    { name: 'SNAPSHOT', help: 'The snapshot; stays as it is.' },
  ],
  options: {},
  async run(args, io) {
    const [name, snapshot] = [operand(args, 'VOLUME'), operand(args, 'SNAPSHOT')];
    await withPool(operand(args, 'DIR'), (host) => host.revertVolume({ name, snapshot }));
    await io.out(`${quoted(name)} is as in ${quoted(snapshot)} again.\n`);
    return 0;
  },
};

export const diffCommand: Command = {
  name: 'diff',
  summary: 'Show where two volumes or snapshots differ.',
  operands: [DIR, { name: 'BASE', help: 'The older one, say.' }, { name: 'NAME', help: 'The newer one.' }],
  options: { json: JSON_FLAG },
  notes:
    'In whole data blocks; told by the metadata alone, so it takes as long as there are differences, not as the data.',
  async run(args, io) {
    const [base, name] = [operand(args, 'BASE'), operand(args, 'NAME')];
    const ranges = await withPool(operand(args, 'DIR'), (host) => allRanges(host, name, base));
    const total = ranges.reduce((sum, { length }) => sum + length, 0);
    if (args.flags.has('json')) await io.out(asJson({ base, name, ranges }));
    else if (ranges.length === 0) await io.out(`${quoted(name)} and ${quoted(base)} hold the same.\n`);
    else {
      const rows = ranges.map(({ offset, length }) => [`${offset}`, `${length}`, formatSize(length)]);
      await io.out(
        table(
          [
            { title: 'OFFSET', align: 'right' },
            { title: 'LENGTH', align: 'right' },
            { title: '', align: 'right' },
          ],
          rows,
        ),
      );
      await io.out(`${formatSize(total)} in ${plural(ranges.length, 'range')}.\n`);
    }
    return 0;
  },
};

export async function allRanges(host: PoolHost, name: string, base: string): Promise<ByteRange[]> {
  const ranges: ByteRange[] = [];
  for (let from: number | undefined = 0; from !== undefined; ) {
    const page = await host.diff({ name, base, from });
    ranges.push(...page.ranges);
    from = page.next;
  }
  return ranges;
}
