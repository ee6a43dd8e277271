import { describe, expect, it } from 'vitest';
import { MarkAhead } from './mark-ahead.js';

const MIB = 2 ** 20;
/** 64 regions are 64 MiB. */
const ahead = (): MarkAhead => new MarkAhead(MIB);

describe('a stream of writes', () => {
  it('has 64 MiB marked in front of it, and the next when half of that is behind it', () => {
    const marks = ahead();
    const ranges = Array.from({ length: 100 }, (_, nr) => marks.wrote(nr, nr, 0)).flatMap((range, nr) =>
      range === undefined ? [] : [[nr, range.begin, range.end]],
    );
    expect(ranges).toEqual([
      [2, 3, 67],
      [35, 67, 100],
      [68, 100, 133],
    ]);
  });

  it('may come in pieces that are a little out of order', () => {
    const marks = ahead();
    const found = [0, 1, 0, 2, 1, 3, 2].map((nr) => marks.wrote(nr, nr, 0));
    expect(found.filter((range) => range !== undefined)).toEqual([{ begin: 3, end: 67 }]);
  });

  it('is found among others, up to four', () => {
    const marks = ahead();
    const starts = [0, 1000, 2000, 3000];
    for (const step of [0, 1])
      for (const start of starts) expect(marks.wrote(start + step, start + step, 0)).toBeUndefined();
    for (const start of starts)
      expect(marks.wrote(start + 2, start + 2, 0)).toEqual({ begin: start + 3, end: start + 67 });
  });

  it('of large requests is one, too', () => {
    const marks = new MarkAhead(32 * 1024);
    expect(marks.wrote(0, 31, 0)).toBeUndefined();
    expect(marks.wrote(32, 63, 0)).toEqual({ begin: 64, end: 64 + 2048 });
  });

  it('that is slower than regions are cleared is left alone', () => {
    const marks = ahead();
    for (let nr = 0; nr < 50; nr++) expect(marks.wrote(nr, nr, nr)).toBeUndefined();
  });

  it('is none when requests go here and there', () => {
    const marks = ahead();
    for (let nr = 0; nr < 50; nr++) expect(marks.wrote((nr * 37) % 500, (nr * 37) % 500, 0)).toBeUndefined();
  });
});
