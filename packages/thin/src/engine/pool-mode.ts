/**
 * What a pool still does, from everything to nothing.
 *
 *   mode                    entered when                                    writes in place   new blocks   discards   messages
 *   write                   normal                                          yes               yes          yes        yes
 *   out_of_data_space       no free data block, even after a commit         yes               wait, fail   yes        yes
 *   out_of_metadata_space   only the reserve of metadata blocks is free     yes               fail         ignored    refused
 *   read_only               asked for; a metadata operation failed; needs_check   yes         fail         ignored    refused
 *   fail                    the metadata cannot be read                     fail              fail         fail       refused
 *
 * Reads work in all but the last. Not here: who changes the mode, and when (pool-core.ts).
 * Format: docs/format/thin.md, section 8.
 */
export type PoolMode = 'write' | 'out_of_data_space' | 'out_of_metadata_space' | 'read_only' | 'fail';

/** Whether the pool's metadata may be changed by requests and messages. */
export const canChange = (mode: PoolMode): boolean => mode === 'write' || mode === 'out_of_data_space';

/** What the kernel's log calls it: "switching pool to … mode". */
export function modeInWords(mode: PoolMode, errorIfNoSpace: boolean): string {
  switch (mode) {
    case 'write':
      return 'write';
    case 'out_of_data_space':
      return errorIfNoSpace ? 'out-of-data-space (error IO)' : 'out-of-data-space (queue IO)';
    case 'out_of_metadata_space':
    case 'read_only':
      return 'read-only';
    case 'fail':
      return 'fail';
  }
}
