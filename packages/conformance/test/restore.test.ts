/** Our thin_restore: what it makes of a dump is clean for all three checkers and dumps as before. */
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  FIXTURE_NAMES,
  fixture,
  goldens,
  mappingLines,
  openScratch,
  ourCheckComplaint,
  readDump,
  realCheckComplaint,
  realDump,
  requireTools,
  runOurTool,
  runRealToolAside,
  type Scratch,
} from '../src/index.js';
import { firstDifference } from './first-difference.js';

const MIB = 1 << 20;
const hasTools = requireTools();

/** A def is named by a block number, and a restore is free to choose its blocks: names in order of their appearance. */
function withOrdinalNames(xml: string): string {
  const ordinals = new Map<string, number>();
  return xml.replace(/ name="(\d+)"/g, (_, name: string) => {
    if (!ordinals.has(name)) ordinals.set(name, ordinals.size);
    return ` name="${ordinals.get(name)}"`;
  });
}

function emptyImage(scratch: Scratch, name: string, size = 32 * MIB): string {
  writeFileSync(scratch.path(name), '');
  truncateSync(scratch.path(name), size);
  return scratch.path(name);
}

async function restored(scratch: Scratch, name: string, xml: string | Uint8Array): Promise<string> {
  writeFileSync(scratch.path(`${name}.xml`), xml);
  const image = emptyImage(scratch, `${name}.img`);
  const ran = await runOurTool('thin_restore', ['-i', scratch.path(`${name}.xml`), '-o', image]);
  expect(ran).toMatchObject({ status: 0, stdout: '' });
  // What cannot be in a pool is left out and said: no other words.
  expect(ran.stderr).toMatch(/^(warning: \d+ mappings in <def> elements belong to no device and were left out\n)?$/);
  return image;
}

async function ourDump(image: string, options: readonly string[] = []): Promise<string> {
  const { status, stdout, stderr } = await runOurTool('thin_dump', [...options, image]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

describe.each(FIXTURE_NAMES)('our thin_restore of %s', { concurrent: true }, (name) => {
  const golden = (): string => {
    const plain = goldens(name).find(({ options }) => options.length === 0)!;
    return Buffer.from(plain.output()).toString();
  };

  it('is clean, dumps the same but for the names of shared parts, and from then on the same to the byte', async () => {
    using scratch = openScratch();
    const image = await restored(scratch, 'first', golden());
    expect(await ourCheckComplaint(image)).toBeUndefined();
    const once = await ourDump(image);
    expect(firstDifference(withOrdinalNames(once), withOrdinalNames(golden()))).toBeUndefined();
    const again = await restored(scratch, 'second', once);
    expect(firstDifference(await ourDump(again), once)).toBeUndefined();
  });

  it.runIf(hasTools)('is clean for 0.9.0 and 1.1.0, and 1.1.0 dumps it as we do', async () => {
    using scratch = openScratch();
    const image = await restored(scratch, 'ours', golden());
    expect(await realCheckComplaint('1.1.0', image)).toBeUndefined();
    expect(await realCheckComplaint('0.9.0', image)).toBeUndefined();
    expect(firstDifference(await ourDump(image), await realDump(image))).toBeUndefined();
    expect(firstDifference(withOrdinalNames(await realDump(image)), withOrdinalNames(golden()))).toBeUndefined();
  });

  it.runIf(hasTools)('takes what 0.9.0 dumps, and what 1.1.0 restored is clean for us', async () => {
    using scratch = openScratch();
    const origin = fixture(name).writeMetadata(scratch.path('origin.img'));
    const old = await runRealToolAside('0.9.0', 'thin_dump', [origin]);
    const image = await restored(scratch, 'old', old.stdout);
    expect(await realCheckComplaint('1.1.0', image)).toBeUndefined();
    const difference = firstDifference(mappingLines(readDump(await realDump(image))), mappingLines(readDump(golden())));
    expect(difference).toBeUndefined();

    writeFileSync(scratch.path('golden.xml'), golden());
    for (const version of ['1.1.0', '0.9.0'] as const) {
      const theirs = emptyImage(scratch, `theirs-${version}.img`);
      const xml = version === '1.1.0' ? scratch.path('golden.xml') : scratch.path('old.xml');
      expect((await runRealToolAside(version, 'thin_restore', ['-i', xml, '-o', theirs])).status).toBe(0);
      expect(await ourCheckComplaint(theirs), version).toBeUndefined();
      expect(firstDifference(await ourDump(theirs), await realDump(theirs)), version).toBeUndefined();
    }
  });
});

describe('our thin_restore of XML that is no dump', { concurrent: true }, () => {
  const superblock =
    '<superblock uuid="" time="1" transaction="7" version="2" data_block_size="128" nr_data_blocks="1024">';
  const device = '<device dev_id="1" mapped_blocks="2" transaction="0" creation_time="0" snap_time="1">';
  const mappings =
    '<single_mapping origin_block="5" data_block="1" time="0"/><single_mapping origin_block="6" data_block="9" time="0"/>';
  const good = `${superblock}\n${device}\n${mappings}\n</device>\n</superblock>`;
  const definition = `<def name="a">${mappings}</def>`;
  const wrong: Record<string, string> = {
    empty: '',
    blank: '  \n',
    'no XML': 'hello',
    'cut in an attribute': good.slice(0, 150),
    'cut in a tag': `${superblock}${device}<single_mapp`,
    'cut between elements': `${superblock}${device}${mappings}`,
    'without its end': good.replace('</superblock>', ''),
    'with a wrong end tag': good.replace('</device>', '</devic>'),
    'with a missing end tag': good.replace('</device>', ''),
    'with an unknown attribute': good.replace('snap_time="1"', 'snap_time="1" foo="3"'),
    'with a missing attribute': good.replace(' snap_time="1"', ''),
    'with a doubled attribute': good.replace('dev_id="1"', 'dev_id="1" dev_id="2"'),
    'with an unknown element': good.replace(device, `<foo></foo>${device}`),
    'with another root': '<foo></foo>',
    'with a word for a number': good.replace('dev_id="1"', 'dev_id="abc"'),
    'with a negative number': good.replace('dev_id="1"', 'dev_id="-1"'),
    'with a fraction': good.replace('dev_id="1"', 'dev_id="1.5"'),
    'with an empty number': good.replace('dev_id="1"', 'dev_id=""'),
    'with 2^64': good.replace('origin_block="5"', 'origin_block="18446744073709551616"'),
    'with a thin id of 2^32': good.replace('dev_id="1"', 'dev_id="4294967296"'),
    'with descending mappings': good.replace('origin_block="5"', 'origin_block="8"'),
    'with a block mapped twice': good.replace('origin_block="5"', 'origin_block="6"'),
    'with overlapping ranges': good.replace(
      mappings,
      `<range_mapping origin_begin="0" data_begin="0" length="10" time="0"/>${mappings}`,
    ),
    'with a data block beyond the pool': good.replace('data_block="9"', 'data_block="1024"'),
    'with a range that leaves the pool': good.replace(
      mappings,
      '<range_mapping origin_begin="0" data_begin="1020" length="5" time="0"/>',
    ),
    'with a range without end': good.replace(
      mappings,
      '<range_mapping origin_begin="0" data_begin="0" length="18446744073709551615" time="0"/>',
    ),
    'with a data block size of 127': good.replace('"128"', '"127"'),
    'with a data block size of 192': good.replace('"128"', '"192"'),
    'with a data block size of more than 1 GiB': good.replace('"128"', '"2097280"'),
    'with a ref to nothing': good.replace(mappings, '<ref name="a"/>'),
    'with a def after its use': good
      .replace(mappings, '<ref name="a"/>')
      .replace('</superblock>', `${definition}</superblock>`),
    'with a def in a device': good.replace(mappings, definition),
    'with a mapping outside a device': `${superblock}${mappings}</superblock>`,
    'with a device in a device': `${superblock}${device}${device}${mappings}</device></device></superblock>`,
    'with two superblocks': `${superblock}${good}</superblock>`,
    'with more data blocks than the metadata has room for': good.replace('"1024"', '"1000000000"'),
  };

  it.each(Object.keys(wrong))('(%s) fails as 1.1.0 does, leaves no valid superblock, and says where', async (what) => {
    using scratch = openScratch();
    writeFileSync(scratch.path('wrong.xml'), wrong[what]!);
    const former = fixture('thin-basic').writeMetadata(scratch.path('former.img')); // a pool was here before
    const ours = await runOurTool('thin_restore', ['-i', scratch.path('wrong.xml'), '-o', former]);
    expect(ours.status).toBe(64);
    expect(ours.stdout).toBe('');
    expect(ours.stderr.trim().split('\n')[0]!.length).toBeGreaterThan(20);
    if (!/^empty|size|room/.test(what)) expect(ours.stderr).toMatch(/line \d+/);
    const complaint = await ourCheckComplaint(former);
    // Refused before anything was written, the former pool stands; else nothing that looks like a pool may.
    if (!readFileSync(former).equals(fixture('thin-basic').metadata())) expect(complaint).toBeDefined();
    if (hasTools) {
      const theirs = emptyImage(scratch, 'theirs.img', 4 * MIB);
      expect(
        (await runRealToolAside('1.1.0', 'thin_restore', ['-i', scratch.path('wrong.xml'), '-o', theirs])).status,
      ).not.toBe(0);
    }
  });

  it('accepts what 1.1.0 accepts: comments, single quotes, white space, no version, unused defs', async () => {
    using scratch = openScratch();
    const accepted = [
      good,
      `<!-- made by hand -->${good.replace(mappings, `<!-- two -->${mappings}`)}<!-- end -->\n`,
      good.replaceAll('"', "'"),
      good.replace('<device ', '<device\n\t ').replace('</device>', '</device >'),
      good.replace(' version="2"', ''),
      good.replace(device, `${definition}${device}`),
      good.replace(device, `${definition}${device}`).replace(`${device}\n${mappings}`, `${device}<ref name="a"/>`),
      `${superblock}</superblock>`,
      good.replace(' version="2"', ' flags="1" version="2"'),
    ];
    for (const [at, xml] of accepted.entries()) {
      const image = await restored(scratch, `ours-${at}`, xml);
      expect(await ourCheckComplaint(image)).toBeUndefined();
      if (!hasTools) continue;
      expect(await realCheckComplaint('1.1.0', image)).toBeUndefined();
      expect(await realCheckComplaint('0.9.0', image)).toBeUndefined();
      const theirs = emptyImage(scratch, `theirs-${at}.img`);
      const ran = await runRealToolAside('1.1.0', 'thin_restore', ['-i', scratch.path(`ours-${at}.xml`), '-o', theirs]);
      expect(ran.status, xml).toBe(0);
      expect(firstDifference(await realDump(image), await realDump(theirs)), xml).toBeUndefined();
    }
  });

  it.runIf(hasTools)('takes overrides as 1.1.0 does', async () => {
    using scratch = openScratch();
    writeFileSync(scratch.path('pool.xml'), good);
    for (const options of [
      ['--transaction-id', '3'],
      ['--transaction-id', '99'],
      ['--nr-data-blocks', '5'],
      ['--nr-data-blocks', '5000'],
      ['--data-block-size', '256'],
      ['--transaction-id', '18446744073709551615', '--nr-data-blocks', '20000', '--data-block-size', '2097152'],
    ]) {
      const ours = emptyImage(scratch, 'ours.img', 4 * MIB);
      const theirs = emptyImage(scratch, 'theirs.img', 4 * MIB);
      const args = ['-i', scratch.path('pool.xml'), ...options, '-o'];
      expect((await runOurTool('thin_restore', [...args, ours])).status).toBe(0);
      expect((await runRealToolAside('1.1.0', 'thin_restore', [...args, theirs])).status).toBe(0);
      expect(firstDifference(await realDump(ours), await realDump(theirs)), options.join(' ')).toBeUndefined();
      expect(await realCheckComplaint('1.1.0', ours)).toBeUndefined();
    }
  });

  it.runIf(hasTools)('refuses files and command lines as 1.1.0 does, with its exit codes', async () => {
    using scratch = openScratch();
    writeFileSync(scratch.path('pool.xml'), good);
    const xml = scratch.path('pool.xml');
    const image = emptyImage(scratch, 'image.img', 4 * MIB);
    for (const args of [
      [],
      ['-i', xml],
      ['-o', image],
      ['-i', scratch.path('missing'), '-o', image],
      ['-i', xml, '-o', scratch.path('missing')],
      ['-i', scratch.directory, '-o', image],
      ['-i', xml, '-o', scratch.directory],
      ['-i', xml, '-o', '/dev/null'],
      ['-i', '/dev/null', '-o', image],
      ['-i', xml, '-o', emptyImage(scratch, 'small.img', 36_864)],
      ['-i', xml, '-o', image, 'extra'],
      ['-i', xml, '-i', xml, '-o', image],
      ['-i', image, '-o', image],
    ]) {
      const ours = await runOurTool('thin_restore', args);
      const theirs = await runRealToolAside('1.1.0', 'thin_restore', args);
      expect({ args, status: ours.status }).toEqual({ args, status: theirs.status });
      expect(ours.stderr).not.toBe('');
    }
    expect((await runOurTool('thin_restore', ['-i', xml, '-o', emptyImage(scratch, 'least.img', 40_960)])).status).toBe(
      0,
    );
    expect(await realCheckComplaint('1.1.0', scratch.path('least.img'))).toBeUndefined();
  });
});
