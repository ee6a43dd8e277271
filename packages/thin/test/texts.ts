/** Dumps and restores in one go, as strings, for tests. */
import { MemoryMetadataDevice, type MetadataDevice } from '@pdata/device';
import { dumpThin } from '../src/maintenance/dump/dump.js';
import type { DumpOptions, DumpSummary } from '../src/maintenance/dump/dump-options.js';
import { restoreThin } from '../src/maintenance/restore/restore.js';
import type { RestoreOptions, RestoreSummary } from '../src/maintenance/restore/restore-options.js';

export function dumped(device: MetadataDevice, options?: DumpOptions): { text: string; summary: DumpSummary } {
  const work = dumpThin(device, options);
  let text = '';
  for (;;) {
    const step = work.next();
    if (step.done) return { text, summary: step.value };
    // Each chunk becomes a string before the next step, which uses its memory again.
    text += Buffer.from(step.value).toString('latin1');
  }
}

export const dumpText = (device: MetadataDevice, options?: DumpOptions): string => dumped(device, options).text;

const bytesOf = (xml: string): Uint8Array => new TextEncoder().encode(xml);

export function restore(xml: string, device: MetadataDevice, options?: RestoreOptions): RestoreSummary {
  const work = restoreThin([bytesOf(xml)], device, options);
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
  }
}

/** Metadata in memory, made from `xml`. */
export function restored(xml: string, nrBlocks = 2048): MemoryMetadataDevice {
  const device = new MemoryMetadataDevice({ nrBlocks });
  restore(xml, device);
  return device;
}

/** Names of shared parts, which are block numbers, replaced by their order of appearance: for comparing two pools' dumps. */
export function withoutPlaces(xml: string): string {
  const names = new Map<string, number>();
  return xml.replace(/name="([^"]*)"/g, (_, name: string) => {
    if (!names.has(name)) names.set(name, names.size);
    return `name="${names.get(name)}"`;
  });
}

/** Every device with its mappings one by one, shared parts and ranges resolved: what a dump says, however it says it. */
export function mappingsIn(xml: string): Record<string, string[]> {
  const parts = new Map<string, string[]>();
  const devices: Record<string, string[]> = {};
  let current: string[] = [];
  for (const [, element = '', attributes = ''] of xml.matchAll(/<([a-z_]+)([^>]*)>/g)) {
    const value = (name: string): string =>
      new RegExp(`\\b${name}\\s*=\\s*["']([^"']*)["']`).exec(attributes)?.[1] ?? '';
    const number = (name: string): number => Number(value(name));
    if (element === 'def' || element === 'device') {
      current = [];
      if (element === 'def') parts.set(value('name'), current);
      else devices[attributes.trim()] = current;
    } else if (element === 'ref') current.push(...(parts.get(value('name')) ?? ['?']));
    else if (element === 'single_mapping') {
      current.push([number('origin_block'), number('data_block'), number('time')].join(' '));
    } else if (element === 'range_mapping') {
      for (let i = 0; i < number('length'); i++) {
        current.push([number('origin_begin') + i, number('data_begin') + i, number('time')].join(' '));
      }
    }
  }
  return devices;
}

/** The same, by thin id. */
export function mappingsById(xml: string): [thinId: number, mappings: string[]][] {
  const byId = Object.entries(mappingsIn(xml)).map(([attributes, mappings]): [number, string[]] => {
    return [Number(/\bdev_id\s*=\s*["'](\d+)["']/.exec(attributes)?.[1]), mappings];
  });
  return byId.sort(([a], [b]) => a - b);
}
