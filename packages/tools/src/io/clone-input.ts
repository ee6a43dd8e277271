/** Opens the metadata device of a clone, and puts what is wrong with it into words. */

import { CloneDamageError, cloneSuperblockValidator, GeometryNeededError } from '@pdata/clone';
import { BLOCK_SIZE, CorruptBlockError, type MetadataDevice } from '@pdata/device';
import { Block, NotFormattedError } from '@pdata/persistent-data';
import type { TargetAdvice } from '../failure/foreign-content.js';
import { ToolError } from '../failure/tool-error.js';
import { withInput, wrongDevice } from './metadata-input.js';

const SEARCH =
  'search for the newest bitset that is whole: clone_repair -i DAMAGED -o NEW --region-size SECTORS --target-size SECTORS (both are in the line ' +
  'of the clone in dmsetup table)';

export const CLONE_ADVICE: TargetAdvice = {
  target: 'clone',
  notMetadata: 'find the metadata device: it is the first device in the clone line of `dmsetup table`',
  probably: "so probably the clone's source or destination",
  unformatted: {
    what: 'an unformatted device: its superblock is all zeros',
    nextStep:
      'there is nothing to check or dump: the kernel, and pdata serve clone, format such a device when the clone is first activated; ' +
      'clone_restore writes metadata to it',
  },
  wiped: {
    what: 'metadata without its superblock, which is all zeros',
    effect:
      'the kernel takes it for a new device: it formats it when the clone is activated, and hydrates everything anew, over what was ' +
      'written to the destination: do not activate it',
    nextStep: `if clone_restore or clone_repair was interrupted here, run it again; otherwise ${SEARCH}`,
  },
};

export const CLONE_IS_BUSY = 'end what uses it first: remove the clone (dmsetup remove), or stop the other server';

/** Opens the metadata device at `path` for `work`, and closes it afterwards. What is wrong with it becomes a `ToolError`. */
export function withCloneInput<T>(
  path: string,
  mode: 'read' | 'write',
  work: (device: MetadataDevice) => Promise<T>,
  { tooSmall = 'XML goes into clone_restore' }: { readonly tooSmall?: string } = {},
): Promise<T> {
  return withInput(path, { mode, busy: CLONE_IS_BUSY, tooSmall, explain: explained }, work);
}

/** Read before anything else, so that a wrong device is told from a damaged one. @throws {@link CorruptBlockError} */
export function requireCloneSuperblock(device: MetadataDevice): void {
  const block = new Block(new Uint8Array(BLOCK_SIZE), 0);
  device.read(0, block.bytes);
  cloneSuperblockValidator.check(block);
}

/** What a new clone must not be made of without being told so: metadata that has lost its superblock. @throws {@link ToolError} */
export function refuseWiped(device: MetadataDevice): void {
  const wrong = wrongDevice(device, undefined, CLONE_ADVICE);
  if (wrong?.message.includes(CLONE_ADVICE.wiped.what)) throw wrong;
}

function explained(error: unknown, device: MetadataDevice): unknown {
  if (error instanceof GeometryNeededError) {
    const nextStep =
      'give --region-size and --target-size, in sectors: both are in the line of the clone in dmsetup table ' +
      '(START target-size clone METADATA DESTINATION SOURCE region-size)';
    const wrong = wrongDevice(device, error, CLONE_ADVICE);
    // A wiped superblock is what this asks the sizes for.
    if (wrong !== undefined && !wrong.message.includes(CLONE_ADVICE.wiped.what)) return wrong;
    return new ToolError(error.code, error.message, { effect: 'nothing has been written', nextStep }, { cause: error });
  }
  if (error instanceof NotFormattedError) return wrongDevice(device, error, CLONE_ADVICE) ?? error;
  if (!(error instanceof CorruptBlockError) || error instanceof CloneDamageError) return error;
  const { structure, field } = error.detail;
  if (structure !== 'clone superblock' || !['blockNr', 'magic', 'checksum'].includes(field)) return error;
  const effect = 'without its superblock the clone cannot be used';
  const nextStep = `check that this is the clone's metadata device; if it is, ${SEARCH}`;
  return (
    wrongDevice(device, error, CLONE_ADVICE) ??
    new ToolError(error.code, `bad checksum in superblock: ${error.message}`, { effect, nextStep }, { cause: error })
  );
}
