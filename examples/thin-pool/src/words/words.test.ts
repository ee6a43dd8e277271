import { describe, expect, it } from 'vitest';
import { checkName, MAX_NAME_BYTES } from './names.js';
import { fileError, printable, reasonOf } from './pool-error.js';
import { similarName } from './similar-name.js';
import { checkVolumeSize, formatShare, formatSize, MAX_SIZE, parseSize } from './sizes.js';

describe('a name', () => {
  it.each(['disk', 'disk 1', 'Ünïcode', 'a', '数据', 'a.b-c_d', 'x'.repeat(MAX_NAME_BYTES)])('may be %j', (name) => {
    expect(checkName(name)).toBe(name);
  });

  it.each([
    ['', 'a name has at least one character'],
    ['x'.repeat(MAX_NAME_BYTES + 1), 'it takes 201 bytes, and a name has at most 200'],
    ['ä'.repeat(101), 'it takes 202 bytes'],
    ['a/b', 'names hold no "/"'],
    ['..', 'a name does not begin with "."'],
    ['../../etc/passwd', 'names hold no "/"'],
    ['a\\b', 'names hold no "\\"'],
    ['a:b', 'names hold no ":"'],
    ['a@b', 'names hold no "@"'],
    ['-rf', 'a name does not begin with "-"'],
    ['a\nb', 'a control or invisible character'],
    ['a\0b', 'a control or invisible character'],
    ['a\u001b[31mb', 'a control or invisible character'],
    ['a\u202eb', 'a control or invisible character'],
    ['a\u200bb', 'a control or invisible character'],
    ['a\ud800b', 'not well-formed Unicode'],
    ['a\ufffdb', 'not well-formed Unicode'],
    [' a', 'begins or ends with a blank'],
    ['a\u00a0', 'begins or ends with a blank'],
  ])('may not be %j: %s', (name, why) => {
    expect(() => checkName(name)).toThrow(expect.objectContaining({ code: 'ERR_NAME' }));
    expect(() => checkName(name)).toThrow(why);
  });

  it('that looks the same is the same', () => {
    expect(checkName('u\u0308ber')).toBe('über');
  });

  it('in a message cannot order a terminal about', () => {
    expect(() => checkName('a\u001b[2Jb')).toThrow('"a\\u{1b}[2Jb" cannot be a name');
    expect(printable('\u202eabc\u0007')).toBe('\\u{202e}abc\\u{7}');
  });
});

describe('a size', () => {
  it.each([
    ['0', 0],
    ['512', 512],
    ['4096b', 4096],
    ['8s', 4096],
    ['64K', 65_536],
    ['64k', 65_536],
    ['64 KiB', 65_536],
    ['10G', 10 * 1024 ** 3],
    ['1.5M', 1_572_864],
    ['0.5K', 512],
    ['2T', 2 * 1024 ** 4],
  ])('%j is %d bytes', (text, bytes) => expect(parseSize(text)).toBe(bytes));

  it.each([
    ['', 'is no size'],
    ['ten', 'is no size'],
    ['-1G', 'is no size'],
    ['10X', 'is no size'],
    ['1e9', 'is no size'],
    ['0x10', 'is no size'],
    ['G', 'is no size'],
    ['10 G G', 'is no size'],
    ['NaN', 'is no size'],
    ['Infinity', 'is no size'],
    ['10GB', 'is ambiguous: GB means 1000 to some and 1024 to others; write 10G'],
    ['1.3K', 'not a whole number of bytes'],
    ['9P', 'too large'],
    ['99999999999999999999', 'too large'],
  ])('%j is refused: %s', (text, why) => expect(() => parseSize(text)).toThrow(why));

  it.each([
    [0, 'the size is 0'],
    [511, 'not whole sectors of 512 bytes; the next that is: 512'],
    [1000, 'the next that is: 1024'],
    [-512, 'is no size'],
    [Number.NaN, 'is no size'],
    [512.5, 'is no size'],
    [MAX_SIZE + 512, 'is no size'],
  ])('of a volume cannot be %d: %s', (size, why) => expect(() => checkVolumeSize(size)).toThrow(why));

  it('of a volume may be one sector, and as much as a number holds', () => {
    expect(checkVolumeSize(512)).toBe(512);
    expect(checkVolumeSize(MAX_SIZE)).toBe(MAX_SIZE);
  });

  it.each([
    [0, '0 B'],
    [512, '512 B'],
    [1024, '1 KiB'],
    [1536, '1.5 KiB'],
    [1_048_575, '1 MiB'],
    [10 * 1024 ** 3, '10 GiB'],
    [1.25 * 1024 ** 4, '1.25 TiB'],
    [123_456_789, '118 MiB'],
  ])('of %d is shown as %s', (bytes, text) => expect(formatSize(bytes)).toBe(text));

  it.each([
    [0, 10, '0 %'],
    [1, 1000, '< 1 %'],
    [999, 1000, '99 %'],
    [1000, 1000, '100 %'],
    [0, 0, '0 %'],
  ])('%d of %d is shown as %s', (part, whole, text) => expect(formatShare(part, whole)).toBe(text));
});

describe('what was meant', () => {
  it.each([
    ['stauts', 'status'],
    ['stat', 'status'],
    ['snapshto', 'snapshot'],
    ['creat', 'create'],
    ['x', undefined],
    ['frobnicate', undefined],
    ['y'.repeat(100_000), undefined],
  ])('by %.20s is %s', (typed, meant) => {
    expect(similarName(typed, ['create', 'status', 'snapshot', 'serve'])).toBe(meant);
  });
});

it('tells what the system refused in its words', () => {
  const error = Object.assign(new Error("ENOENT: no such file or directory, open '/x'"), { code: 'ENOENT' });
  expect(reasonOf(error)).toBe('no such file or directory');
  expect(fileError('read', '/x', error).message).toBe('cannot read "/x": no such file or directory');
  expect(reasonOf(new Error('the catalogue is damaged'))).toBe('the catalogue is damaged');
});
