/** A thin device while volumes of it are open: what they share, however many there are. */
import { Gate, RequestQueue } from '@pdata/device/engine';

export class OpenThin {
  readonly thinId: number;
  /** Volumes of it that are open. */
  nrVolumes = 0;
  /** Orders requests block by block. */
  readonly queue = new RequestQueue();
  /** Requests that write are behind it; a snapshot closes it. */
  readonly writers = new Gate();
  /** Number of the pool's change that last concerned it, or may have. */
  lastChange: number;
  /** What an abort took away from it; then it cannot be flushed any more before it is opened anew. */
  abortedBy: unknown;

  /** @param nrChanges of the pool so far: what was written by volumes that are closed again may not be committed yet */
  constructor(thinId: number, nrChanges: number) {
    this.thinId = thinId;
    this.lastChange = nrChanges;
  }
}
