/** A clone's source: a file or block device, an image behind a URL, or an export of an NBD server; only read in any case. */
import { existsSync, statSync } from 'node:fs';
import { type DataDevice, DeviceOpenError, StoreError } from '@pdata/device';
import { type HttpDataDevice, openHttpDataDevice } from '@pdata/device/http';
import { connectNbd } from '@pdata/nbd';
import { ToolError } from '../failure/tool-error.js';
import { withDataFile } from './serve-files.js';

export type SourceKind = 'file' | 'http' | 'nbd';

/** Anything with a scheme that is none of these is a file: a path may have a colon. */
export function sourceKind(source: string): SourceKind {
  if (/^https?:\/\//i.test(source)) return 'http';
  return /^nbds?(\+\w+)?:\/\//i.test(source) ? 'nbd' : 'file';
}

export interface OpenSource {
  readonly device: DataDevice;
  /** What the user may not expect. */
  readonly warnings: readonly string[];
  /** Ends what is on its way, where that may take long. */
  giveUp(): void;
}

/** Opens the source for `work`, and closes it afterwards. */
export async function withSource<T>(source: string, work: (source: OpenSource) => Promise<T>): Promise<T> {
  const kind = sourceKind(source);
  if (kind === 'file') {
    refuseOtherScheme(source);
    const advice = { what: 'source', busy: 'wait until whoever writes to it has ended: a source must not change' };
    return withDataFile(source, 'read', advice, (device) => {
      const stats = statSync(source);
      return work({
        device,
        warnings: leftOut(source, device, stats.isFile() ? stats.size : device.size),
        giveUp() {},
      });
    });
  }
  const calledOff = new AbortController();
  const device = await (kind === 'http' ? openedImage(source, calledOff.signal) : openedExport(source));
  const warnings = kind === 'http' ? warningsAbout(device as HttpDataDevice) : [];
  try {
    return await work({ device, warnings, giveUp: () => calledOff.abort() });
  } finally {
    await device.close();
  }
}

/** A path may look like that, but then something is there. */
function refuseOtherScheme(source: string): void {
  const [, scheme] = /^([a-z][a-z0-9+.-]*):\/\//i.exec(source) ?? [];
  if (scheme === undefined || existsSync(source)) return;
  throw new ToolError('ERR_NO_INPUT', `cannot read '${source}': there is no reading of ${scheme}:// URLs`, {
    nextStep:
      'fetch the image, and give the file; or serve it where it is, over http, https or NBD: http://…, https://…, nbd://… or nbd+unix://…',
  });
}

async function openedImage(url: string, signal: AbortSignal): Promise<HttpDataDevice> {
  try {
    return await openHttpDataDevice(url, { signal });
  } catch (cause) {
    throw explained(cause, 'check the URL (curl -I URL), and that the server supports range requests');
  }
}

async function openedExport(uri: string): Promise<DataDevice> {
  try {
    return await connectNbd(uri, { readOnly: true, connections: 4 });
  } catch (cause) {
    throw explained(cause, 'check the URI, and what the server has (nbdinfo --list URI)');
  }
}

function explained(cause: unknown, nextStep: string): unknown {
  if (!(cause instanceof DeviceOpenError)) {
    return cause instanceof StoreError ? new ToolError(cause.code, cause.message, { nextStep }, { cause }) : cause;
  }
  return new ToolError(cause.code, cause.message, { nextStep }, { cause });
}

function warningsAbout(device: HttpDataDevice): string[] {
  const { name, guard, imageSize } = device;
  return [
    ...(guard === 'length'
      ? [`the server tells neither ETag nor Last-Modified of ${name}: a change that keeps its length goes unnoticed`]
      : []),
    ...leftOut(name, device, imageSize),
  ];
}

const leftOut = (name: string, { size }: DataDevice, imageSize: number): string[] =>
  size === imageSize
    ? []
    : [`'${name}' has ${imageSize} bytes: the last ${imageSize - size}, less than a sector, are left out`];
