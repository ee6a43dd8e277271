/** What can be wrong with a clone's metadata, besides what every target's can be (see @pdata/persistent-data). */
import { StoreError } from '@pdata/device';

/**
 * The metadata was made for regions, or for a clone, of another size than asked for. Both are fixed for its life. The kernel's
 * EINVAL, "Region and/or target size don't match the ones in metadata".
 */
export class GeometryError extends StoreError {
  override readonly name = 'GeometryError';
  readonly code = 'ERR_GEOMETRY';
}
