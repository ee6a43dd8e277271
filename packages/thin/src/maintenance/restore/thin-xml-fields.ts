/**
 * The elements of a thin pool's XML and their attributes: which are required, which numbers they take.
 *
 *   element          inside           attributes
 *   superblock       -                uuid, time, transaction, [flags], [version], data_block_size, nr_data_blocks, [metadata_snap]
 *   def              superblock       name
 *   device           superblock       dev_id, mapped_blocks, transaction, creation_time, snap_time
 *   single_mapping   device, def      origin_block, data_block, time
 *   range_mapping    device, def      origin_begin, data_begin, length, time
 *   ref              device, def      name
 *
 * Format: docs/format/tools.md, section 5.
 */
import { type ElementTable, numberUpTo, optionalUpTo, text } from '@pdata/persistent-data/maintenance';
import { MAX_DATA_BLOCKS, MAX_TIME } from '../../format/block-time.js';
import { MAX_THIN_ID } from '../../format/limits.js';

const MAX_U32 = 2 ** 32 - 1;
const MAX_U64 = 2n ** 64n - 1n;
const MAPPINGS = ['device', 'def'];
const time = numberUpTo(MAX_TIME - 1);

export const ELEMENTS: ElementTable = {
  superblock: {
    inside: [''],
    fields: {
      uuid: text,
      time,
      transaction: numberUpTo(MAX_U64),
      flags: optionalUpTo(MAX_U32),
      version: optionalUpTo(MAX_U32),
      data_block_size: numberUpTo(MAX_U32),
      nr_data_blocks: numberUpTo(MAX_DATA_BLOCKS),
      metadata_snap: optionalUpTo(MAX_U64),
    },
  },
  def: { inside: ['superblock'], fields: { name: text } },
  device: {
    inside: ['superblock'],
    fields: {
      dev_id: numberUpTo(MAX_THIN_ID),
      mapped_blocks: numberUpTo(Number.MAX_SAFE_INTEGER),
      transaction: numberUpTo(MAX_U64),
      creation_time: time,
      snap_time: time,
    },
  },
  single_mapping: {
    inside: MAPPINGS,
    fields: { origin_block: numberUpTo(Number.MAX_SAFE_INTEGER), data_block: numberUpTo(MAX_DATA_BLOCKS - 1), time },
  },
  range_mapping: {
    inside: MAPPINGS,
    fields: {
      origin_begin: numberUpTo(Number.MAX_SAFE_INTEGER),
      data_begin: numberUpTo(MAX_DATA_BLOCKS - 1),
      length: numberUpTo(Number.MAX_SAFE_INTEGER),
      time,
    },
  },
  ref: { inside: MAPPINGS, fields: { name: text } },
};
