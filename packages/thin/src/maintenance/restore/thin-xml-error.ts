import { XmlError } from '@pdata/persistent-data/maintenance';

/**
 * XML that cannot be restored: malformed, not a dump of a thin pool, or contradicting itself.
 * @example line 3, column 5 (byte 215): <single_mapping> maps virtual block 7, which is not above 9, the last one mapped
 */
export class ThinXmlError extends XmlError {
  override readonly name = 'ThinXmlError';
  readonly code = 'ERR_THIN_XML';
}
