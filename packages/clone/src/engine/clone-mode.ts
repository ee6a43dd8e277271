/**
 * What a clone still does, from everything to nothing.
 *
 *   mode         entered when                               hydrated regions   other regions        discards, hydration
 *   write        normal                                     read and written   read and hydrated    yes
 *   read_only    asked for; a commit failed                 read and written   read                 no
 *   fail         the metadata cannot be read any more       fail               fail                 fail
 *
 * There is no way back but opening the clone again; nothing of it is stored.
 *
 * Format: docs/format/clone.md, section 7.
 */
export type CloneMode = 'write' | 'read_only' | 'fail';

/** What the kernel's log calls it. */
export function modeInWords(mode: CloneMode): string {
  switch (mode) {
    case 'write':
      return 'read-write';
    case 'read_only':
      return 'read-only';
    case 'fail':
      return 'fail';
  }
}
