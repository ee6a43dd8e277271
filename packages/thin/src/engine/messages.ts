/**
 * The kernel's pool messages: one line of words, the name in any case.
 *
 *   create_thin <id>                        create_snap <id> <origin id>         delete <id>
 *   set_transaction_id <current> <new>      reserve_metadata_snap                release_metadata_snap
 *
 * Each is followed by a commit whose failure is not the message's: it shows in the pool's mode.
 *
 * Format: docs/format/thin.md, section 4, with the texts of the errors.
 */
import { type MessageErrno, wholeNumberIn, wordsOf } from '@pdata/device/engine';
import { MAX_THIN_ID } from '../format/limits.js';
import { DeviceExistsError, MetadataSnapshotError, NoSuchDeviceError, TransactionIdError } from '../metadata/errors.js';
import { PoolMessageError, PoolModeError, VolumeInUseError } from './errors.js';
import { canChange, type PoolMode } from './pool-mode.js';

/** What messages do to a pool, each without its commit. */
export interface PoolChanges {
  createThin(thinId: number): Promise<void>;
  createSnapshot(thinId: number, originId: number): Promise<void>;
  deleteThin(thinId: number): Promise<void>;
  setTransactionId(current: bigint, next: bigint): Promise<void>;
  reserveMetadataSnapshot(): Promise<number>;
  releaseMetadataSnapshot(): Promise<void>;
}

interface Message {
  /** Its words, the name included. */
  readonly nrWords: number;
  /** Logged when the operation fails. */
  readonly failed: (words: readonly string[]) => string;
  readonly send: (pool: PoolChanges, words: readonly string[]) => Promise<unknown>;
}

const MESSAGES: Readonly<Record<string, Message>> = {
  create_thin: {
    nrWords: 2,
    failed: ([, id]) => `Creation of new thinly-provisioned device with id ${id} failed.`,
    send: (pool, [, id]) => pool.createThin(thinIdIn(id)),
  },
  create_snap: {
    nrWords: 3,
    failed: ([, id, origin]) => `Creation of new snapshot ${id} of device ${origin} failed.`,
    send: (pool, [, id, origin]) => {
      const thinId = thinIdIn(id); // the kernel looks at it first
      return pool.createSnapshot(thinId, thinIdIn(origin));
    },
  },
  delete: {
    nrWords: 2,
    failed: ([, id]) => `Deletion of thin device ${id} failed.`,
    send: (pool, [, id]) => pool.deleteThin(thinIdIn(id)),
  },
  set_transaction_id: {
    nrWords: 3,
    failed: ([, current, next]) => `Failed to change transaction id from ${current} to ${next}.`,
    send: (pool, [, current, next]) => {
      const from = transactionIdIn(current, 'id');
      return pool.setTransactionId(from, transactionIdIn(next, 'new id'));
    },
  },
  reserve_metadata_snap: {
    nrWords: 1,
    failed: () => 'reserve_metadata_snap message failed.',
    send: (pool) => pool.reserveMetadataSnapshot(),
  },
  release_metadata_snap: {
    nrWords: 1,
    failed: () => 'release_metadata_snap message failed.',
    send: (pool) => pool.releaseMetadataSnapshot(),
  },
};

/** Does what the message says; the commit is the caller's. Rejects with a {@link PoolMessageError}. */
export async function sendMessage(pool: PoolChanges, mode: PoolMode, line: string): Promise<void> {
  const words = wordsOf(line);
  if (!canChange(mode)) {
    throw new PoolMessageError('EOPNOTSUPP', ['unable to service pool target messages in READ_ONLY or FAIL mode']);
  }
  const name = words[0]?.toLowerCase() ?? '';
  const message = Object.hasOwn(MESSAGES, name) ? MESSAGES[name] : undefined;
  if (message === undefined)
    throw new PoolMessageError('EINVAL', [`Unrecognised thin pool target message received: ${words[0] ?? ''}`]);
  if (words.length !== message.nrWords) {
    throw new PoolMessageError('EINVAL', [
      `Message received with ${words.length} arguments instead of ${message.nrWords}.`,
    ]);
  }
  try {
    await message.send(pool, words);
  } catch (error) {
    if (error instanceof PoolMessageError) throw error;
    throw refusal(error, message.failed(words));
  }
}

function refusal(cause: unknown, failed: string): PoolMessageError {
  if (cause instanceof TransactionIdError)
    return new PoolMessageError('EINVAL', ['mismatched transaction id', failed], { cause });
  if (cause instanceof MetadataSnapshotError) {
    return failed.startsWith('reserve')
      ? new PoolMessageError(
          'EBUSY',
          ['Pool metadata snapshot already exists: release this before taking another.', failed],
          { cause },
        )
      : new PoolMessageError('EINVAL', ['No pool metadata snapshot found: nothing to release.', failed], { cause });
  }
  return new PoolMessageError(errnoOf(cause), [failed], { cause });
}

function errnoOf(cause: unknown): MessageErrno {
  if (cause instanceof DeviceExistsError) return 'EEXIST';
  if (cause instanceof NoSuchDeviceError) return 'ENODATA';
  if (cause instanceof VolumeInUseError) return 'EBUSY';
  if (cause instanceof PoolModeError) return 'EOPNOTSUPP';
  if (typeof cause === 'object' && cause !== null && 'code' in cause && cause.code === 'ERR_NO_SPACE') return 'ENOSPC';
  return 'EIO';
}

function thinIdIn(word: string | undefined): number {
  const id = wholeNumberIn(word);
  if (id === undefined || id > BigInt(MAX_THIN_ID))
    throw new PoolMessageError('EINVAL', [`Message received with invalid device id: ${word}`]);
  return Number(id);
}

function transactionIdIn(word: string | undefined, what: string): bigint {
  const id = wholeNumberIn(word);
  if (id === undefined || id >= 2n ** 64n)
    throw new PoolMessageError('EINVAL', [`set_transaction_id message: Unrecognised ${what} ${word}.`]);
  return id;
}
