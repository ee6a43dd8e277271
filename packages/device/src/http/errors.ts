/** What can be wrong with an image behind a URL, besides what can be with every device. */
import { StoreError } from '../errors.js';

/**
 * The image is not the one that was opened: what has been read of it does not go with what would be read from now on. Nothing is
 * read any more; open it anew, and begin anew what was made of it.
 */
export class ImageChangedError extends StoreError {
  override readonly name = 'ImageChangedError';
  readonly code = 'ERR_IMAGE_CHANGED';
}

/** @internal Why one attempt failed, and whether another may help. Never leaves this folder but as the cause of a device's error. */
export class AttemptError extends Error {
  override readonly name = 'AttemptError';
  readonly canRetry: boolean;
  /** Milliseconds that the server wants us to wait. */
  readonly waitMs: number;

  constructor(message: string, options: { canRetry: boolean; waitMs?: number; cause?: unknown }) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.canRetry = options.canRetry;
    this.waitMs = options.waitMs ?? 0;
  }
}
