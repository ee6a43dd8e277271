import { describe, expect, it } from 'vitest';
import { parseMirrorTable, printMirrorTable } from '../index.js';

describe('a table line', () => {
  it.each([
    '0 65536 mirror core 1 128 2 254:16 0 254:32 0',
    '0 65536 mirror core 2 128 nosync 3 254:16 0 254:32 8 254:48 16 1 handle_errors',
    '0 32768 mirror disk 2 254:0 64 2 254:16 0 253:0 0 1 handle_errors',
    '0 65536 mirror disk 3 254:0 128 sync 2 254:16 0 254:32 0 2 handle_errors keep_log',
    'mirror userspace 4 LVM-uuid clustered-disk 253:4 1024 2 253:5 0 253:6 0 1 handle_errors',
  ])('is printed as it was read: %s', (line) => {
    expect(printMirrorTable(parseMirrorTable(line))).toBe(line);
  });

  it('says what the mirror is', () => {
    expect(parseMirrorTable('  disk 3 /dev/log 128 sync  2 /dev/a 0 /dev/b 2048 2 keep_log handle_errors ')).toEqual({
      log: { type: 'disk', device: '/dev/log', regionSize: 128, sync: 'sync' },
      legs: [
        { device: '/dev/a', offset: 0 },
        { device: '/dev/b', offset: 2048 },
      ],
      handleErrors: true,
      keepLog: true,
    });
  });

  it.each([
    ['mirror', 'Insufficient mirror log arguments'],
    ['mirror core x 128', 'Invalid mirror log argument count'],
    ['mirror core 9 128 2 a 0 b 0', 'Invalid mirror log argument count'],
    ['mirror tape 1 128 2 a 0 b 0', 'Error creating mirror dirty log: there is no log of type "tape"'],
    ['mirror core 1 100 2 a 0 b 0', 'Error creating mirror dirty log: invalid region size 100'],
    ['mirror core 1 1 2 a 0 b 0', 'Error creating mirror dirty log: invalid region size 1'],
    ['mirror core 2 128 now 2 a 0 b 0', 'Error creating mirror dirty log: unrecognised word "now"'],
    ['mirror core 2 128 block_on_error 2 a 0 b 0', 'it is the feature handle_errors today'],
    ['mirror disk 1 log 2 a 0 b 0', 'Error creating mirror dirty log: a disk log has 2 or 3 arguments'],
    ['mirror core 1 128 1 a 0', 'Invalid number of mirrors'],
    ['mirror core 1 128 10 a 0', 'Invalid number of mirrors'],
    ['mirror core 1 128 2 a 0 b', 'Too few mirror arguments'],
    ['mirror core 1 128 2 a 0 b -8', 'Invalid offset'],
    ['mirror core 1 128 2 a 0 b 0 x', 'Invalid number of features'],
    ['mirror core 1 128 2 a 0 b 0 2 handle_errors', 'Not enough arguments to support feature count'],
    ['mirror core 1 128 2 a 0 b 0 1 errors', 'Unrecognised feature requested'],
    ['mirror core 1 128 2 a 0 b 0 1 keep_log', 'keep_log feature requires the handle_errors feature'],
    ['mirror core 1 128 2 a 0 b 0 1 handle_errors more', 'Too many mirror arguments'],
    ['5 100 mirror core 1 128 2 a 0 b 0', 'begins with 0'],
  ])('is refused in the kernel’s words: %s', (line, says) => {
    expect(() => parseMirrorTable(line)).toThrow(says);
    expect(() => parseMirrorTable(line)).toThrow(expect.objectContaining({ code: 'ERR_MIRROR_TABLE' }));
  });
});
