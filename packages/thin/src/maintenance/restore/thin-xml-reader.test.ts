import { ContentProblem, MAX_NAME_LENGTH, MAX_TAG_LENGTH, MAX_VALUE_LENGTH } from '@pdata/persistent-data/maintenance';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fixtureImage } from '../../../test/fixture-images.js';
import { dumpText } from '../../../test/texts.js';
import { ThinXmlError } from './thin-xml-error.js';
import { type ThinXmlHandler, ThinXmlReader } from './thin-xml-reader.js';

/** Everything the reader tells, in words; refuses data block 666, as a handler may. */
class Listener implements ThinXmlHandler {
  readonly heard: string[] = [];
  beginSuperblock(superblock: object): void {
    this.heard.push(`superblock ${Object.values(superblock).join(' ')}`);
  }
  beginDef(name: string): void {
    this.heard.push(`def ${name}`);
  }
  endDef(): void {
    this.heard.push('end def');
  }
  beginDevice(device: object): void {
    this.heard.push(`device ${Object.values(device).join(' ')}`);
  }
  endDevice(): void {
    this.heard.push('end device');
  }
  mappings(origin: number, data: number, length: number, time: number): void {
    if (data === 666) throw new ContentProblem('data block 666 is not liked');
    this.heard.push(`${origin} ${data} ${length} ${time}`);
  }
  ref(name: string): void {
    this.heard.push(`ref ${name}`);
  }
  endSuperblock(): void {
    this.heard.push('end superblock');
  }
}

interface Outcome {
  readonly heard: readonly string[];
  readonly error: string | undefined;
}

/** Reads `text` in pieces of the given sizes, over and over. */
function read(text: string | Uint8Array, { fast = true, pieces = [1 << 20] } = {}): Outcome {
  const listener = new Listener();
  const reader = new ThinXmlReader(listener, { fast });
  const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text;
  try {
    for (let at = 0, i = 0; at < bytes.length; i++) {
      const size = pieces[i % pieces.length] as number;
      reader.push(bytes.subarray(at, at + size));
      at += size;
    }
    reader.end();
    return { heard: listener.heard, error: undefined };
  } catch (error) {
    // Anything else is a bug: the test fails with it.
    if (!(error instanceof ThinXmlError)) throw error;
    return { heard: listener.heard, error: error.message };
  }
}

const SUPERBLOCK =
  '<superblock uuid="" time="1" transaction="7" version="2" data_block_size="128" nr_data_blocks="1024">';
const DEVICE = '<device dev_id="1" mapped_blocks="3" transaction="0" creation_time="0" snap_time="1">';
const SINGLE = '<single_mapping origin_block="5" data_block="13" time="1"/>';
const RANGE = '<range_mapping origin_begin="7" data_begin="0" length="2" time="0"/>';
const heardOfAll = [
  'superblock  1 7 128 1024',
  'device 1 3 0 0 1',
  '5 13 1 1',
  '7 0 2 0',
  'end device',
  'end superblock',
];

describe('accepts', () => {
  const inner = `${DEVICE}${SINGLE}${RANGE}</device>`;
  it.each([
    [
      'what thin_dump 1.x writes',
      `${SUPERBLOCK}\n  ${DEVICE}\n    ${SINGLE}\n    ${RANGE}\n  </device>\n</superblock>`,
    ],
    [
      'the flags that thin_dump 0.9 writes, and its last newline',
      `${SUPERBLOCK.replace('version', 'flags="0" version')}${inner}</superblock>\n`,
    ],
    ['an XML declaration', `<?xml version="1.0" encoding="UTF-8"?>\n${SUPERBLOCK}${inner}</superblock>`],
    ['a byte-order mark', `\ufeff${SUPERBLOCK}${inner}</superblock>`],
    ['comments anywhere between tags', `<!-- a > b -->${SUPERBLOCK}<!--\n--><!---->${inner}</superblock><!-- - -->`],
    ['no white space at all', `${SUPERBLOCK}${inner}</superblock>`],
    [
      'any white space',
      `\r\n\t${SUPERBLOCK}\r\n${inner.replaceAll(' ', ' \n\t').replaceAll('/>', ' />')}</superblock \n>\n\n`,
    ],
    ['single quotes', `${SUPERBLOCK}${inner.replaceAll('"', "'")}</superblock>`],
    [
      'attributes in any order',
      `${SUPERBLOCK}${inner.replace(/(origin_block="5") (data_block="13")/, '$2 $1')}</superblock>`,
    ],
    [
      'leaves with an end tag',
      `${SUPERBLOCK}${inner.replaceAll(/<(\w+_mapping)([^>]*)\/>/g, '<$1$2> </$1>')}</superblock>`,
    ],
    ['leading zeros', `${SUPERBLOCK}${inner.replace('"13"', '"00000000000000000000013"')}</superblock>`],
    [
      'a metadata_snap, which means nothing here',
      `${SUPERBLOCK.replace('version', 'metadata_snap="7" version')}${inner}</superblock>`,
    ],
    ['no version', `${SUPERBLOCK.replace('version="2" ', '')}${inner}</superblock>`],
  ])('%s', (_, xml) => {
    for (const fast of [true, false]) expect(read(xml, { fast })).toEqual({ heard: heardOfAll, error: undefined });
  });

  it('self-closed containers, and names with the five entities and more than ASCII', () => {
    const xml = `${SUPERBLOCK}<def name="&lt;a&gt; &amp;&quot;&apos; ä"/>${DEVICE}<ref name='&lt;a&gt; &amp;"&apos; ä'/></device></superblock>`;
    const name = `<a> &"' ä`;
    expect(read(xml).heard).toEqual([
      'superblock  1 7 128 1024',
      `def ${name}`,
      'end def',
      'device 1 3 0 0 1',
      `ref ${name}`,
      'end device',
      'end superblock',
    ]);
  });
});

describe('refuses UTF-16 by its name', () => {
  const littleEndian = Buffer.from(`\ufeff${SUPERBLOCK}</superblock>`, 'utf16le');
  it.each([
    ['little-endian', littleEndian],
    ['big-endian', Buffer.from(littleEndian).swap16()],
  ])('%s', (_, bytes) => {
    for (const pieces of [[1], [1 << 20]]) {
      expect(read(bytes, { pieces }).error).toBe(
        "line 1, column 1 (byte 0): the text begins as UTF-16 (PowerShell's > writes that), expected UTF-8",
      );
    }
  });
});

describe('refuses, and says where', () => {
  const inDevice = (inner: string): string => `${SUPERBLOCK}\n  ${DEVICE}\n    ${inner}\n  </device>\n</superblock>`;
  it.each([
    ['an empty text', '', '1:1', 'the text is empty: expected <superblock>'],
    ['white space only', ' \n ', '2:2', 'the text is empty: expected <superblock>'],
    ['binary', '\u0000\u0001\u0002\u0003', '1:1', 'byte 0x00 where only tags are expected'],
    ['text', `${SUPERBLOCK}\nhallo`, '2:1', `'h' where only tags are expected`],
    ['text behind the end', `${SUPERBLOCK}</superblock>x`, '1:115', `'x' where only tags are expected`],
    [
      'another element behind the end',
      `${SUPERBLOCK}</superblock>\n${SUPERBLOCK}`,
      '2:1',
      '<superblock> after the end of </superblock>',
    ],
    [
      'an element it does not know',
      inDevice('<foo/>'),
      '3:5',
      'unknown element <foo>: is this the XML of a thin pool?',
    ],
    ['an XML of something else', '<mappings/>', '1:1', 'unknown element <mappings>: is this the XML of a thin pool?'],
    [
      'a mapping without a device',
      `${SUPERBLOCK}\n ${SINGLE}`,
      '2:2',
      '<single_mapping> inside <superblock>, expected <def>, <device>',
    ],
    [
      'a device in a device',
      inDevice(DEVICE),
      '3:5',
      '<device> inside <device>, expected <single_mapping>, <range_mapping>, <ref>',
    ],
    ['a superblock missing', DEVICE, '1:1', '<device> at the beginning, expected <superblock>'],
    [
      'an element in a leaf',
      inDevice(SINGLE.replace('/>', '><ref name="1"/>')),
      '3:63',
      '<ref> inside <single_mapping>, expected its end tag',
    ],
    ['an attribute it does not know', inDevice('<ref name="1" foo="2"/>'), '3:19', `unknown attribute 'foo' in <ref>`],
    [
      'an attribute too few',
      inDevice('<single_mapping origin_block="1" data_block="2"/>'),
      '3:5',
      `attribute 'time' is missing in <single_mapping>`,
    ],
    ['an attribute twice', inDevice('<ref name="1" name="1"/>'), '3:19', `attribute 'name' occurs twice in <ref>`],
    ['no quotes', inDevice('<ref name=1/>'), '3:15', `expected a quote before the value of 'name' in <ref>, not '1'`],
    ['no equals sign', inDevice('<ref name "1"/>'), '3:15', `expected = after attribute 'name' in <ref>, not '"'`],
    [
      'no white space between attributes',
      inDevice('<single_mapping origin_block="1"data_block="2"/>'),
      '3:37',
      `expected white space, / or > in <single_mapping>, not 'd'`,
    ],
    [
      'a quote that is not closed',
      inDevice('<ref name="1/>'),
      '4:3',
      `< in the value of 'name' in <ref>: is its quote missing?`,
    ],
    [
      'an entity',
      inDevice('<ref name="&foo;"/>'),
      '3:16',
      `'&foo;' in the value of 'name': only &amp; &lt; &gt; &quot; and &apos; are known here`,
    ],
    [
      'a character by its number',
      inDevice('<ref name="&#49;"/>'),
      '3:16',
      `'&#49;' in the value of 'name': only &amp; &lt; &gt; &quot; and &apos; are known here`,
    ],
    [
      'a lone ampersand',
      inDevice('<ref name="a & b"/>'),
      '3:16',
      `'& b' in the value of 'name': only &amp; &lt; &gt; &quot; and &apos; are known here`,
    ],
    [
      'a DTD',
      '<!DOCTYPE superblock [<!ENTITY a "b">]>',
      '1:1',
      'expected a tag or a comment: no DTD and no CDATA section is read here',
    ],
    [
      'a CDATA section',
      inDevice('<![CDATA[x]]>'),
      '3:5',
      'expected a tag or a comment: no DTD and no CDATA section is read here',
    ],
    [
      'a declaration that is not at the beginning',
      ` <?xml version="1.0"?>`,
      '1:2',
      'a processing instruction; only an XML declaration at the very beginning is accepted',
    ],
    [
      'another encoding',
      '<?xml version="1.0" encoding="UTF-16"?>',
      '1:1',
      `the text is declared to be in 'UTF-16', expected UTF-8`,
    ],
    ['a wrong end tag', `${SUPERBLOCK}\n</device>`, '2:1', '</device> inside <superblock>, expected </superblock>'],
    ['an end tag without a start', '</superblock>', '1:1', '</superblock> closes nothing: nothing is open'],
    [
      'attributes in an end tag',
      `${SUPERBLOCK}</superblock a="1">`,
      '1:115',
      `expected > at the end of </superblock>, not 'a'`,
    ],
    ['-- in a comment', `<!-- a -- b -->`, '1:8', '-- inside a comment'],
    [
      'a word for a number',
      inDevice(SINGLE.replace('"5"', '"five"')),
      '3:35',
      `origin_block is 'five', expected a decimal number`,
    ],
    [
      'nothing for a number',
      inDevice(SINGLE.replace('"5"', '""')),
      '3:35',
      `origin_block is '', expected a decimal number`,
    ],
    ['a sign', inDevice(SINGLE.replace('"5"', '"+5"')), '3:35', `origin_block is '+5', expected a decimal number`],
    [
      'a hexadecimal number',
      inDevice(SINGLE.replace('"5"', '"0x5"')),
      '3:35',
      `origin_block is '0x5', expected a decimal number`,
    ],
    [
      'a virtual block above 2^53 - 1',
      inDevice(SINGLE.replace('"5"', '"9007199254740992"')),
      '3:35',
      'origin_block is 9007199254740992, expected at most 9007199254740991',
    ],
    [
      'a data block above 40 bits',
      inDevice(SINGLE.replace('"13"', '"1099511627776"')),
      '3:50',
      'data_block is 1099511627776, expected at most 1099511627775',
    ],
    [
      'a time above 24 bits',
      inDevice(SINGLE.replace('time="1"', 'time="16777216"')),
      '3:60',
      'time is 16777216, expected at most 16777215',
    ],
    [
      'a thin id above 24 bits',
      inDevice(SINGLE).replace('dev_id="1"', 'dev_id="16777216"'),
      '2:19',
      'dev_id is 16777216, expected at most 16777215',
    ],
    [
      'a transaction id above 64 bits',
      inDevice(SINGLE).replace('"7"', '"18446744073709551616"'),
      '1:43',
      'transaction is 18446744073709551616, expected at most 18446744073709551615',
    ],
    [
      'a range of nothing',
      inDevice(RANGE.replace('length="2"', 'length="0"')),
      '3:5',
      'a range of length 0 maps nothing',
    ],
    [
      'a range past the last block',
      inDevice(RANGE.replace('"7"', '"9007199254740990"')),
      '3:5',
      'the range ends behind virtual block 9007199254740991, the last possible',
    ],
    [
      'what its handler refuses',
      inDevice(`${SINGLE}\n  ${SINGLE.replace('13', '666')}`),
      '4:3',
      'data block 666 is not liked',
    ],
    [
      'a long name',
      `<${'a'.repeat(MAX_NAME_LENGTH + 1)}/>`,
      '1:2',
      `the name of an element is longer than ${MAX_NAME_LENGTH} bytes`,
    ],
    [
      'a long value',
      inDevice(`<ref name="${'x'.repeat(MAX_VALUE_LENGTH + 1)}"/>`),
      '3:16',
      `the value of 'name' in <ref> is longer than ${MAX_VALUE_LENGTH} bytes`,
    ],
    [
      'a long tag',
      inDevice(`<ref${' '.repeat(MAX_TAG_LENGTH)}name="x"/>`),
      '3:5',
      `a tag longer than ${MAX_TAG_LENGTH} bytes`,
    ],
    ['a control character', inDevice('<ref name="a\u0001"/>'), '3:17', `byte 0x01 in the value of 'name' in <ref>`],
    [
      'a text cut inside a tag',
      `${SUPERBLOCK}\n  <device dev_`,
      '2:3',
      'the text ends inside this tag: is it complete?',
    ],
    [
      'a text cut inside a comment',
      `${SUPERBLOCK}\n  <!-- dev`,
      '2:11',
      'the text ends inside a comment: is it complete?',
    ],
    [
      'a text cut between tags',
      `${SUPERBLOCK}\n  ${DEVICE}\n`,
      '3:1',
      'the text ends inside <device>: is it complete?',
    ],
  ])('%s', (_, xml, at, problem) => {
    const [line, column] = at.split(':');
    const byte =
      new TextEncoder().encode(
        xml
          .split('\n')
          .slice(0, Number(line) - 1)
          .map((text) => `${text}\n`)
          .join(''),
      ).length +
      Number(column) -
      1;
    const expected = `line ${line}, column ${column} (byte ${byte}): ${problem}`;
    for (const fast of [true, false])
      for (const pieces of [[1 << 20], [1], [7]]) {
        expect(read(xml, { fast, pieces }).error).toBe(expected);
      }
  });

  it('a name that is not UTF-8', () => {
    const xml = new TextEncoder().encode(inDevice('<ref name="ab"/>'));
    xml[xml.indexOf('b'.charCodeAt(0), xml.length - 40)] = 0xff;
    expect(read(xml).error).toMatch(/line 3, column 16 .*the value of 'name' is not UTF-8/);
  });
});

describe('the two ways through the text', () => {
  const mappings = Array.from({ length: 40 }, (_, i) =>
    (i % 3 === 0 ? RANGE : SINGLE).replace(/"[57]"/, `"${i * 10}"`),
  );
  const xml = `${SUPERBLOCK}\n  <def name="4">\n    ${mappings.slice(0, 15).join('\n    ')}\n  </def>\n  ${DEVICE}\n    <ref name="4"/>\n    ${mappings.slice(15).join('\n    ')}\n  </device>\n</superblock>`;
  const bytes = new TextEncoder().encode(xml);

  it('tell the same of any mutation of a dump, in any pieces', () => {
    const characters = fc.constantFrom(...'<>/="\' \n\t\r0123456789aelmnot_-!?&;x\u0000');
    const mutation = fc.tuple(
      fc.constantFrom('set', 'insert', 'remove', 'cut', 'repeat'),
      fc.nat(bytes.length - 1),
      characters,
      fc.nat(40),
    );
    fc.assert(
      fc.property(
        fc.array(mutation, { minLength: 1, maxLength: 3 }),
        fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 4 }),
        (mutations, pieces) => {
          let text = [...bytes];
          for (const [how, at, character, length] of mutations) {
            const code = character.charCodeAt(0);
            if (how === 'set') text[at % text.length] = code;
            else if (how === 'insert') text.splice(at % text.length, 0, code);
            else if (how === 'remove') text.splice(at % text.length, length);
            else if (how === 'cut') text = text.slice(0, Math.max(1, at));
            else text.splice(at % text.length, 0, ...text.slice(at, at + length));
            if (text.length === 0) return;
          }
          const mutated = Uint8Array.from(text);
          const plain = read(mutated, { fast: false });
          expect(read(mutated)).toEqual(plain);
          expect(read(mutated, { pieces })).toEqual(plain);
          expect(read(mutated, { fast: false, pieces })).toEqual(plain);
        },
      ),
      { seed: 1, numRuns: 1500 },
    );
  });

  it('tell the same of a whole pool', () => {
    const text = dumpText(fixtureImage('thin-large'));
    const fast = read(text, { pieces: [100_003] });
    expect(fast.error).toBeUndefined();
    const slow = read(text, { fast: false });
    expect(fast.heard.length).toBe(slow.heard.length);
    expect(fast.heard.every((line, i) => line === slow.heard[i])).toBe(true);
  });

  it('find the same place of an error far into a text', () => {
    const line = `    ${SINGLE}\r\n`;
    const text = `${SUPERBLOCK}\n${DEVICE}\n${line.repeat(20_000)}${line.replace('13', '666')}`;
    const expected = 'line 20003, column 5';
    for (const fast of [true, false]) expect(read(text, { fast, pieces: [65_536] }).error).toContain(expected);
  });
});

it('holds no more than its window of a text without end', () => {
  const reader = new ThinXmlReader(new Listener());
  reader.push(new TextEncoder().encode(SUPERBLOCK));
  const comment = new TextEncoder().encode(`<!--${' x'.repeat(500_000)}-->`);
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 20; i++) reader.push(comment);
  reader.push(new TextEncoder().encode('</superblock>'));
  reader.end();
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 << 20);
});
