/** What the requests to one volume need: its pool, what it shares with other volumes of its thin device, and its own. */
import type { DataDevice } from '@pdata/device';
import type { OpenThin } from './open-thin.js';
import type { PoolCore } from './pool-core.js';

export interface VolumeAccess {
  readonly core: PoolCore;
  readonly thin: OpenThin;
  /** What unmapped blocks are read from. */
  readonly externalOrigin: DataDevice | undefined;
}
