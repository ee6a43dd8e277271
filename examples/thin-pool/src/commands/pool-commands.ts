/** Commands about the pool as a whole: create, status, grow, check. */
import type { Command } from '../command-line/command.js';
import { connectToHost } from '../control/remote-host.js';
import { LocalPoolHost } from '../pool/local-host.js';
import { checkPoolDirectory, type RepairReport, repairPoolDirectory } from '../pool/pool-check.js';
import { formatOf } from '../pool/pool-directory.js';
import type { CheckReport, PoolReport } from '../pool-host.js';
import { PoolError } from '../words/pool-error.js';
import { formatShare, formatSize, parseSize, plural } from '../words/sizes.js';
import { asJson, DIR, JSON_FLAG, operand, sizeOption } from './operands.js';
import { withPool } from './with-pool.js';

export const createCommand: Command = {
  name: 'create',
  summary: 'Make a new, empty pool.',
  operands: [{ name: 'DIR', help: 'Directory for it: empty, or not there yet.' }],
  options: {
    size: {
      kind: 'value',
      placeholder: 'SIZE',
      help: 'Space for data; default 10G. The file is sparse: it takes what is used.',
    },
    'block-size': {
      kind: 'value',
      placeholder: 'SIZE',
      help: 'Unit in which space is given out and shared, a multiple of 64K up to 1G; default 64K. Cannot be changed later.',
    },
    raw: {
      kind: 'flag',
      help: "Keep the metadata as a plain image in the kernel's format, instead of in LMDB.",
    },
  },
  notes: `Example:
  thin-pool create mypool --size 100G`,
  async run(args, io) {
    const directory = operand(args, 'DIR');
    const size = sizeOption(args, 'size', '10G')!;
    const blockSize = sizeOption(args, 'block-size', '64K')!;
    await LocalPoolHost.create(directory, { size, blockSize, format: args.flags.has('raw') ? 'raw' : 'lmdb' });
    await io.out(`Made the pool ${directory}: ${formatSize(size)} of data in blocks of ${formatSize(blockSize)}.\n`);
    return 0;
  },
};

export const statusCommand: Command = {
  name: 'status',
  summary: 'Show how full the pool is and how it is doing.',
  operands: [DIR],
  options: { json: JSON_FLAG },
  async run(args, io) {
    const report = await withPool(operand(args, 'DIR'), (host) => host.status());
    await io.out(args.flags.has('json') ? asJson(report) : statusText(report));
    return 0;
  },
};

export function statusText(report: PoolReport): string {
  const { data, metadata, serving } = report;
  const where = report.format === 'raw' ? "metadata in the kernel's format" : 'metadata in LMDB';
  const saved = report.mapped - data.used;
  const sharing = saved > 0 ? `; ${formatSize(saved)} are shared` : '';
  const lines = [
    ['Pool', `${report.directory}, ${where}, blocks of ${formatSize(report.blockSize)}`],
    ['Data', `${formatSize(data.used)} of ${formatSize(data.size)} used (${formatShare(data.used, data.size)})`],
    [
      'Metadata',
      `${formatSize(metadata.used)} of ${formatSize(metadata.size)} used (${formatShare(metadata.used, metadata.size)})`,
    ],
    [
      'Volumes',
      `${plural(report.nrVolumes, 'volume')} and ${plural(report.nrSnapshots, 'snapshot')}; ${formatSize(report.promised)} promised, ${formatSize(report.mapped)} mapped${sharing}`,
    ],
    ['State', stateText(report)],
  ];
  if (serving !== undefined) {
    const clients = `${plural(serving.clients, 'client')}`;
    lines.push([
      'Served',
      `by process ${serving.processId}, ${clients}${serving.nbd === undefined ? '' : `; ${serving.nbd}`}`,
    ]);
  }
  return lines.map(([title, text]) => `${title!.padEnd(9)} ${text}\n`).join('');
}

function stateText({ mode, needsCheck, data }: PoolReport): string {
  if (needsCheck)
    return 'read-only: something went wrong in it; stop serving, then thin-pool check --repair (needs_check)';
  switch (mode) {
    case 'write': {
      const free = data.size - data.used;
      const isLow = free <= (data.lowWater ?? 0);
      return isLow
        ? `in order, but only ${formatSize(free)} of data are free: remove something, or grow the pool`
        : 'in order';
    }
    case 'out_of_data_space':
      return 'out of data space: remove something, or grow the pool';
    default:
      return mode.replaceAll('_', ' ');
  }
}

export const growCommand: Command = {
  name: 'grow',
  summary: 'Give the pool more space for data, also while it is served.',
  operands: [DIR, { name: 'SIZE', help: 'The new size, like 20G; or what is added, like +10G.' }],
  options: {},
  async run(args, io) {
    const text = operand(args, 'SIZE');
    const report = await withPool(operand(args, 'DIR'), async (host) => {
      const before = text.startsWith('+') ? (await host.status()).data.size : 0;
      return await host.growPool({ size: before + parseSize(text.replace(/^\+/, '')) });
    });
    await io.out(`The pool has ${formatSize(report.data.size)} of data now, ${formatSize(report.data.used)} used.\n`);
    return 0;
  },
};

export const checkCommand: Command = {
  name: 'check',
  summary: 'Check metadata, catalogue and data file against each other. Changes nothing unless told to repair.',
  operands: [DIR],
  options: {
    repair: {
      kind: 'flag',
      help: 'Then free what leaked, and clear the flag that keeps a pool read-only (needs_check). Not while it is served.',
    },
    json: JSON_FLAG,
  },
  notes: `Exit code 1 when something is wrong (with --repair: still wrong). A pool that is served is checked at its last commit.
Metadata that are damaged are left as they are: export them (export-pool), repair the image with thin_repair, and import it again.`,
  async run(args, io) {
    const directory = operand(args, 'DIR');
    formatOf(directory);
    const served = await connectToHost(directory);
    if (args.flags.has('repair')) {
      await served?.close();
      if (served !== undefined)
        throw new PoolError('ERR_POOL_BUSY', 'the pool is being served: stop that first, then repair');
      const repair = await repairPoolDirectory(directory);
      await io.out(args.flags.has('json') ? asJson(repair) : repairText(repair));
      return repair.check.clean ? 0 : 1;
    }
    const report = served === undefined ? await checkPoolDirectory(directory) : await served.check();
    await served?.close();
    await io.out(args.flags.has('json') ? asJson(report) : checkText(report));
    return report.clean ? 0 : 1;
  },
};

function repairText({ freed, needsCheckCleared, check }: RepairReport): string {
  const done = [
    ...(freed.data + freed.metadata === 0 ? [] : [`freed ${freed.data} data and ${freed.metadata} metadata blocks`]),
    ...(needsCheckCleared ? ['the pool can be written to again'] : []),
  ];
  return `${done.length === 0 ? 'Nothing to repair' : `Repaired: ${done.join('; ')}`}.\n${checkText(check)}`;
}

function checkText(report: CheckReport): string {
  const lines = report.findings.map(
    ({ where, severity, message }) => `${severity === 'fatal' ? 'FATAL' : 'harmless'} (${where}) ${message}`,
  );
  lines.push(...report.notes.map((note) => `note: ${note}`));
  const counted = `${plural(report.nrVolumes, 'volume or snapshot', 'volumes and snapshots')}, ${plural(report.nrMappings, 'mapping')}`;
  const { data, metadata } = report.leaked;
  lines.push(
    report.clean
      ? `All is well: ${counted}, nothing leaked.`
      : `${plural(report.findings.length, 'finding')} in ${counted}; ${data} data and ${metadata} metadata blocks leaked.`,
  );
  return `${lines.join('\n')}\n`;
}
