/**
 * The commands there are. Each is loaded only when it runs: a check does not wait for the parser of XML.
 */
import type { Command } from './command.js';

export interface RegisteredCommand {
  /** One word, or two; one of one word is a program of its own too. */
  readonly name: string;
  /** One line for `pdata --help`. */
  readonly summary: string;
  load(): Promise<Command>;
}

export const COMMANDS: readonly RegisteredCommand[] = [
  {
    name: 'clone_check',
    summary: 'check the metadata of a clone, and free leaked blocks',
    load: async () => (await import('./clone-check.js')).cloneCheck,
  },
  {
    name: 'clone_dump',
    summary: 'print the metadata of a clone as XML or JSON',
    load: async () => (await import('./clone-dump.js')).cloneDump,
  },
  {
    name: 'clone_repair',
    summary: 'save what can be read of the damaged metadata of a clone',
    load: async () => (await import('./clone-repair.js')).cloneRepair,
  },
  {
    name: 'clone_restore',
    summary: 'write the metadata of a clone from XML',
    load: async () => (await import('./clone-restore.js')).cloneRestore,
  },
  {
    name: 'serve clone',
    summary: 'serve an image over NBD at once, while it is copied',
    load: async () => (await import('./serve-clone.js')).serveClone,
  },
  {
    name: 'serve thin',
    summary: 'serve the volumes of a thin pool over NBD',
    load: async () => (await import('./serve-thin.js')).serveThin,
  },
  {
    name: 'thin_check',
    summary: 'check the metadata of a thin pool, and repair leaked blocks',
    load: async () => (await import('./thin-check.js')).thinCheck,
  },
  {
    name: 'thin_dump',
    summary: 'print the metadata of a thin pool as XML, text or JSON',
    load: async () => (await import('./thin-dump.js')).thinDump,
  },
  {
    name: 'thin_ls',
    summary: 'list the thin devices of a pool, with what they share',
    load: async () => (await import('./thin-ls.js')).thinLs,
  },
  {
    name: 'thin_metadata_size',
    summary: 'estimate how large a metadata device a pool needs',
    load: async () => (await import('./thin-metadata-size.js')).thinMetadataSize,
  },
  {
    name: 'thin_restore',
    summary: 'write the metadata of a thin pool from XML',
    load: async () => (await import('./thin-restore.js')).thinRestore,
  },
];
