import { describe, expect, it } from 'vitest';
import { parseCloneTable, printCloneTable } from '../index.js';

describe('a table line', () => {
  it.each([
    '0 32768 clone 254:0 254:16 254:32 8',
    '0 32768 clone 254:0 254:16 254:32 8 1 no_hydration',
    '0 32768 clone 254:0 254:16 254:32 8 2 no_hydration no_discard_passdown',
    '0 32768 clone 254:0 254:16 254:32 8 0 2 hydration_threshold 16',
    'clone /dev/m /dev/d /dev/s 2097152 1 no_discard_passdown 4 hydration_threshold 0 hydration_batch_size 4294967295',
  ])('is printed as it was read: %s', (line) => {
    expect(printCloneTable(parseCloneTable(line))).toBe(line);
  });

  it('says what the clone is', () => {
    expect(
      parseCloneTable(' /dev/m /dev/d  /dev/s 128 1 NO_HYDRATION 4 hydration_threshold 1 hydration_threshold +7 '),
    ).toEqual({
      metadata: '/dev/m',
      destination: '/dev/d',
      source: '/dev/s',
      regionSize: 128,
      noHydration: true,
      noDiscardPassdown: false,
      hydrationThreshold: 7,
    });
  });

  it('with a group of no words has none', () => {
    expect(printCloneTable(parseCloneTable('clone m d s 8 0 0'))).toBe('clone m d s 8');
  });

  it.each([
    ['', 'Invalid number of arguments'],
    ['clone m d s', 'Invalid number of arguments'],
    ['clone m d s x', 'Invalid region size: x is not'],
    ['clone m d s 4', 'Invalid region size: 4 is not from 8 to 2097152 sectors'],
    ['clone m d s 4194304', 'Invalid region size'],
    ['clone m d s 24', 'Region size is not a power of 2: 24'],
    ['0 17179869185 clone m d s 8', 'Too many regions. Consider increasing the region size'],
    ['clone m d s 8 x', 'Invalid number of feature arguments'],
    ['clone m d s 8 3 no_hydration no_hydration no_hydration', 'Invalid number of feature arguments'],
    ['clone m d s 8 2 no_hydration', 'Invalid number of feature arguments'],
    ['clone m d s 8 1 hydration', 'Invalid feature argument: hydration'],
    ['clone m d s 8 0 2 hydration_threshold', 'Invalid number of core arguments'],
    ['clone m d s 8 0 6 a 1 b 2 c 3', 'Invalid number of core arguments'],
    ['clone m d s 8 0 1 hydration_threshold', 'Number of core arguments must be even'],
    ['clone m d s 8 0 2 constructor 1', 'Invalid core argument: constructor'],
    ['clone m d s 8 0 2 hydration_threshold -1', "Invalid value for argument `hydration_threshold'"],
    ['clone m d s 8 0 2 hydration_batch_size 4294967296', "Invalid value for argument `hydration_batch_size'"],
    ['clone m d s 8 0 2 hydration_threshold 1 more', 'behind the last argument, from "more" on'],
    ['5 100 clone m d s 8', 'begins with 0'],
    ['0 0 clone m d s 8', 'begins with 0'],
  ])('is refused in the kernel’s words: %s', (line, says) => {
    expect(() => parseCloneTable(line)).toThrow(says);
    expect(() => parseCloneTable(line)).toThrow(expect.objectContaining({ code: 'ERR_CLONE_TABLE' }));
  });
});
