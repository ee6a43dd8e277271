/**
 * What every restore has to look at before its output is touched: both paths, that the input is XML and no image, that they are not one
 * file; and how its failures are told.
 */
import { type Stats, statSync } from 'node:fs';
import { BLOCK_SIZE, DeviceBusyError, DeviceError, DeviceOpenError, type MetadataDevice } from '@pdata/device';
import { openFileMetadataDevice, systemProblem } from '@pdata/device/node';
import { XmlError } from '@pdata/persistent-data/maintenance';
import { foreignContent, isMetadataOf, type TargetAdvice } from '../failure/foreign-content.js';
import { ToolError } from '../failure/tool-error.js';
import { isSameFile } from '../io/dump-output.js';
import { InterruptedError } from '../io/io.js';
import { inputStats, startOf } from '../io/metadata-input.js';

/** What a restore says of its target. */
export interface RestoreWords {
  /** "thin_restore". */
  readonly tool: string;
  /** What made the XML: "thin_dump". */
  readonly dump: string;
  /** "a thin pool". */
  readonly subject: string;
  readonly advice: TargetAdvice;
  /** What tells how large the output has to be. */
  readonly sizeAdvice: string;
  /** Blocks that an output has at least. */
  readonly minBlocks: number;
  /** What to do when somebody else uses the output. */
  readonly busy: string;
}

/** @returns the size of the XML in bytes */
export function checkXmlInput(path: string, { tool, dump, subject, advice }: RestoreWords): number {
  const stats = inputStats(path, 'XML');
  const start = startOf(path);
  if (start.length === 0) {
    throw new ToolError('ERR_NO_XML', `incomplete source metadata: '${path}' is empty`, {
      nextStep: `make the XML with ${dump}; if it was made so, its dump failed`,
    });
  }
  const isOwn = isMetadataOf(start, advice.target);
  const what = isOwn ? `the binary metadata of ${subject}` : foreignContent(start, advice)?.what;
  if (what !== undefined) {
    const nextStep = `${tool} reads the XML that ${dump} prints: give that as --input`;
    throw new ToolError('ERR_NO_XML', `'${path}' is not XML: it is ${what}`, { nextStep });
  }
  return stats.size;
}

/** Opens the output for writing when nothing speaks against it; it has not been written to then. */
export function openOutput(path: string, inputPath: string, words: RestoreWords): MetadataDevice {
  checkOutput(path, inputPath, words);
  const device = openForWriting(path, words);
  // A block device tells its size only when it is open.
  if (device.nrBlocks >= words.minBlocks) return device;
  const nrBytes = device.nrBlocks * BLOCK_SIZE;
  device.close();
  throw tooSmall(path, nrBytes, words);
}

function checkOutput(path: string, inputPath: string, words: RestoreWords): void {
  const stats = outputStats(path);
  if (stats === undefined) {
    throw new ToolError('ERR_NO_OUTPUT', `Couldn't find output file '${path}'`, {
      nextStep: `${words.tool} does not create it: make a file first (truncate -s 16M '${path}'); ${words.sizeAdvice}`,
    });
  }
  if (!stats.isFile() && !stats.isBlockDevice()) {
    throw new ToolError('ERR_OUTPUT_KIND', 'Invalid output file: Not a block device or regular file', {
      nextStep: 'give a metadata device, or a file',
    });
  }
  if (isSameFile(path, inputPath)) {
    throw new ToolError('ERR_OUTPUT_IS_INPUT', `'${path}' is both input and output`, {
      nextStep: 'give another output',
    });
  }
  if (stats.isFile() && stats.size < words.minBlocks * BLOCK_SIZE) throw tooSmall(path, stats.size, words);
}

function outputStats(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (cause) {
    const message = `cannot write '${path}': ${systemProblem(cause) ?? (cause as Error).message}`;
    throw new ToolError('ERR_OUTPUT', message, { nextStep: 'check the path' }, { cause });
  }
}

function openForWriting(path: string, { busy }: RestoreWords): MetadataDevice {
  try {
    return openFileMetadataDevice(path, { mode: 'write' });
  } catch (error) {
    const isBusy = error instanceof DeviceBusyError;
    if (!isBusy && !(error instanceof DeviceOpenError)) throw error;
    const nextStep = isBusy
      ? `${busy}, or give another output`
      : 'check the path, and that you have the permission to write to it';
    throw new ToolError(error.code, error.message, { effect: 'nothing has been written', nextStep }, { cause: error });
  }
}

function tooSmall(path: string, nrBytes: number, { minBlocks, sizeAdvice }: RestoreWords): ToolError {
  return new ToolError('ERR_OUTPUT_SIZE', 'Output file too small.', {
    effect: `'${path}' holds ${nrBytes} bytes; the least is ${minBlocks * BLOCK_SIZE}`,
    nextStep: `give a larger one; ${sizeAdvice}`,
  });
}

/** Errors say what they leave of the target: it has no metadata, or, when nothing had been written yet, what it had. */
export function explainedRestore(
  error: unknown,
  {
    input,
    output,
    hasBegunToWrite,
  }: { readonly input: string; readonly output: string; readonly hasBegunToWrite: boolean },
  words: RestoreWords,
): unknown {
  const effect = hasBegunToWrite ? `'${output}' holds no valid metadata now` : 'nothing has been written';
  if (error instanceof InterruptedError) {
    const { code, exitCode } = error;
    return new ToolError(code, 'interrupted', { effect, nextStep: 'run it again' }, { cause: error, exitCode });
  }
  if (error instanceof XmlError) {
    return new ToolError(
      error.code,
      `cannot restore '${input}': ${error.message}`,
      { effect, nextStep: `make the XML again with ${words.dump}, or correct it there, and run ${words.tool} again` },
      { cause: error },
    );
  }
  if (error instanceof DeviceError) return new ToolError(error.code, error.message, { effect }, { cause: error });
  return error;
}
