import { expect, it } from 'vitest';
import {
  ClosedError,
  CorruptBlockError,
  DeviceBusyError,
  DeviceError,
  DeviceOpenError,
  InvariantError,
  invariant,
  ReadOnlyError,
  StoreError,
} from './errors.js';

it('tells where a block contradicts the format, what was found and what was expected', () => {
  const detail = { structure: 'btree node', blockNr: 7, field: 'nrEntries', found: 300, expected: 'at most 252' };
  const error = new CorruptBlockError(detail);
  expect(error.message).toBe('btree node in block 7: nrEntries is 300, expected at most 252');
  expect(error.detail).toEqual(detail);
  expect(error).toBeInstanceOf(StoreError);
});

it('tells a number of 64 bits exactly where it can, and says where it is rounded', () => {
  const messageOf = (found: number | bigint) =>
    new CorruptBlockError({ structure: 'thin superblock', blockNr: 0, field: 'blockNr', found, expected: 0 }).message;
  expect(messageOf(2n ** 64n - 1n)).toContain('blockNr is 18446744073709551615, expected 0');
  expect(messageOf(2 ** 64)).toContain('blockNr is about 18446744073709552000, expected 0');
  expect(messageOf(2 ** 53 - 1)).toContain('blockNr is 9007199254740991, expected 0');
});

it('gives each error a name and a stable code of its own', () => {
  const classes = { DeviceError, DeviceOpenError, DeviceBusyError, ReadOnlyError, ClosedError };
  const codes = Object.entries(classes).map(([name, ErrorClass]) => {
    const cause = new Error('why');
    const error = new ErrorClass('text', { cause });
    expect(error).toBeInstanceOf(StoreError);
    expect(error.cause).toBe(cause);
    expect(error.name).toBe(name);
    return error.code;
  });
  expect(codes).toEqual(['ERR_DEVICE', 'ERR_DEVICE_OPEN', 'ERR_DEVICE_BUSY', 'ERR_READ_ONLY', 'ERR_CLOSED']);
});

it('stops at a broken invariant with an error that nobody mistakes for bad bytes', () => {
  invariant(true, 'never said');
  expect(() => invariant(false, 'the spine is empty')).toThrow(InvariantError);
  expect(() => invariant(false, 'the spine is empty')).toThrow('a bug in pdata): the spine is empty');
  expect(new InvariantError('x')).not.toBeInstanceOf(StoreError);
});
