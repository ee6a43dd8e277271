import { expect, it } from 'vitest';
import { ToolError } from '../failure/tool-error.js';
import { BrokenPipeError } from '../io/io.js';
import { keptIo } from '../io/kept-io.js';
import { onceAMinute, sparing, Teller } from './serve-teller.js';

it('tells of what clients do wrong a few times a second, however often they do it', () => {
  let now = 0;
  const said: string[] = [];
  const log = sparing({ now: () => now }, (line) => said.push(line));
  for (let i = 0; i < 100; i++) log(`line ${i}`);
  now = 1000;
  log('later');
  now = 2000;
  log('last');
  expect(said).toEqual([
    'line 0',
    'line 1',
    'line 2',
    'line 3',
    'line 4',
    'and 95 more of that kind before',
    'later',
    'last',
  ]);
});

it('tells of what fails again and again at once for each reason, and then once a minute', () => {
  let now = 0;
  const said: string[] = [];
  const log = onceAMinute({ now: () => now }, (line) => said.push(line));
  for (; now < 60_000; now += 1000) log('full', `full at ${now}`);
  log('full', 'still full');
  log('gone', 'gone');
  now += 60_000;
  log('full', 'full anew');
  expect(said).toEqual(['full at 0', 'still full (and 59 more like it in the last minute)', 'gone', 'full anew']);
});

it.each([new BrokenPipeError('closed'), new ToolError('ERR_OUTPUT', 'output error: no space left')])(
  'goes on when nobody takes what it says: %s',
  (error) => {
    const { io, stderr } = keptIo({
      out: () => {
        throw error;
      },
    });
    const teller = new Teller(io, { tool: 'x', json: true, quiet: false, print: () => {}, streamsDocument: () => {} });
    teller.tell('status', {}, []);
    teller.warn('a \x1b[2Jwarning');
    expect(stderr()).toBe('warning: a \\x1b[2Jwarning\n');
  },
);

it('says nothing on standard error with --quiet', () => {
  const { io, stderr } = keptIo();
  const lines: string[] = [];
  const print = (line: string): void => void lines.push(line);
  const teller = new Teller(io, { tool: 'x', json: false, quiet: true, print, streamsDocument: () => {} });
  teller.warn('a warning');
  teller.tell('status', { of: 'it' }, ['all is well']);
  expect([stderr(), lines]).toEqual(['', ['all is well']]);
});
