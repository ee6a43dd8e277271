/** The part of a pool that the page needs: it looks, and it does what its buttons say. It opens no volume and closes no pool. */
import type { PoolHost } from '../pool-host.js';

export type PageHost = Pick<
  PoolHost,
  | 'status'
  | 'volumes'
  | 'sharing'
  | 'createVolume'
  | 'snapshot'
  | 'renameVolume'
  | 'resizeVolume'
  | 'revertVolume'
  | 'removeVolume'
  | 'growPool'
  | 'onEvent'
>;
