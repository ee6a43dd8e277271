import { readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { openFileMetadataDevice } from '@pdata/device/node';
import { describe, expect, it } from 'vitest';
import { kernelImage, runTool, scratchDirectory, writeImage } from '../../test/run-tool.js';
import { InterruptedError } from '../io/io.js';

const directory = scratchDirectory();
const basic = writeImage(directory, 'basic.img', kernelImage('thin-basic'));
const xml = join(directory, 'basic.xml');
const linkToItself = join(directory, 'loop');
symlinkSync(linkToItself, linkToItself);
const METADATA_SIZE = 1024 * 4096;

let nrTargets = 0;
/** A file with recognizable content, so that a change is seen. */
const target = (size = METADATA_SIZE): string =>
  writeImage(directory, `target-${nrTargets++}.img`, Buffer.alloc(size, 0xaa));
const textFile = (name: string, text: string): string => writeImage(directory, name, Buffer.from(text));
const isUntouched = (path: string): boolean => readFileSync(path).every((byte) => byte === 0xaa);
const hasSuperblock = (path: string): boolean =>
  readFileSync(path)
    .subarray(0, 4096)
    .some((byte) => byte !== 0);

describe('thin_restore', async () => {
  await runTool(`thin_dump -o ${xml} ${basic}`);

  it.each(['-i XML -o OUT', '-iXML -oOUT', '-i=XML -o=OUT', '--input=XML --output OUT', '-q -v -i XML -o OUT'])(
    'restores what was dumped, without a word: %s',
    async (line) => {
      const output = target();
      const argv = line.replace('XML', xml).replace('OUT', output);
      expect(await runTool(`thin_restore ${argv}`)).toEqual({ exitCode: 0, stdout: '', stderr: '' });
      expect((await runTool(`thin_dump ${output}`)).stdout).toBe(readFileSync(xml, 'utf8'));
    },
  );

  it('takes the larger transaction id and number of data blocks, and the data block size it is given', async () => {
    const output = target();
    const firstLine = async (): Promise<string | undefined> =>
      (await runTool(`thin_dump --skip-mappings ${output}`)).stdout.split('\n')[0];
    await runTool(`thin_restore -i ${xml} -o ${output} --transaction-id 3 --nr-data-blocks 5 --data-block-size 256`);
    expect(await firstLine()).toBe(
      '<superblock uuid="" time="4" transaction="5" version="2" data_block_size="256" nr_data_blocks="1024">',
    );
    await runTool(`thin_restore -i ${xml} -o ${output} --transaction-id 18446744073709551615 --nr-data-blocks 500000`);
    expect(await firstLine()).toBe(
      '<superblock uuid="" time="4" transaction="18446744073709551615" version="2" data_block_size="128" nr_data_blocks="500000">',
    );
  });

  it('says in JSON what it did', async () => {
    const { stdout } = await runTool(`thin_restore --json -i ${xml} -o ${target()}`);
    expect(JSON.parse(stdout)).toEqual({
      tool: 'thin_restore',
      ok: true,
      exitCode: 0,
      devices: 5,
      mappings: 473,
      metadataBlocksUsed: 14,
      metadataBlocks: 1024,
      warnings: [],
      errors: [],
    });
  });

  it.each([
    [['-i', 'nothing', '-o', 'OUT'], "Couldn't find input file 'nothing'"],
    [['-i', '', '-o', 'OUT'], "Couldn't find input file ''"],
    [['-i', linkToItself, '-o', 'OUT'], `cannot read '${linkToItself}': too many symbolic links encountered`],
    [['-i', directory, '-o', 'OUT'], `Not a block device or regular file '${directory}'.`],
    [['-i', '/dev/null', '-o', 'OUT'], "Not a block device or regular file '/dev/null'."],
    [['-i', textFile('empty', ''), '-o', 'OUT'], `incomplete source metadata: '${directory}/empty' is empty`],
    [['-i', basic, '-o', 'OUT'], `'${basic}' is not XML: it is the binary metadata of a thin pool`],
    [['-i', 'OUT', '-o', 'OUT'], "'OUT' is both input and output"],
    [
      ['-i', xml, '-o', 'OUT', '--data-block-size', '100'],
      /^the data block size is 100 sectors, expected a multiple of 128/,
    ],
    [
      ['-i', xml, '-o', 'OUT', '--nr-data-blocks', '18446744073709551615'],
      /^the number of data blocks is 18446744073709551615, expected/,
    ],
    [['-i', xml, '-o', 'OUT', '--io-engine', 'foo'], "unknown io engine type 'foo'"],
  ])('leaves the output as it was when it refuses %j', async (argv, message) => {
    const output = target();
    const { exitCode, stdout, stderr } = await runTool([
      'thin_restore',
      ...argv.map((word) => (word === 'OUT' ? output : word)),
    ]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 64, stdout: '' });
    const expected = typeof message === 'string' ? message.replace('OUT', output) : message;
    expect(stderr.split('\n')[0]).toEqual(typeof expected === 'string' ? expected : expect.stringMatching(expected));
    expect(isUntouched(output)).toBe(true);
  });

  it.each([
    ['nothing', "Couldn't find output file 'nothing'"],
    [directory, 'Invalid output file: Not a block device or regular file'],
    ['/dev/null', 'Invalid output file: Not a block device or regular file'],
    [target(40_959), 'Output file too small.'],
  ])('cannot write to %s', async (output, message) => {
    const { exitCode, stderr } = await runTool(['thin_restore', '-i', xml, '-o', output]);
    expect(exitCode).toBe(64);
    expect(stderr.split('\n')[0]).toBe(message);
    expect(stderr).toContain('\n  next step: ');
  });

  it('knows its input again under another name', async () => {
    const link = join(directory, 'link.xml');
    symlinkSync(xml, link);
    const before = readFileSync(xml);
    const { exitCode, stderr } = await runTool(`thin_restore -i ${xml} -o ${link}`);
    expect(exitCode).toBe(64);
    expect(stderr).toContain('is both input and output');
    expect(readFileSync(xml)).toEqual(before);
  });

  it('is told when somebody else has the output open', async () => {
    const output = target();
    const held = openFileMetadataDevice(output, { mode: 'read' });
    try {
      const { exitCode, stderr } = await runTool(`thin_restore -i ${xml} -o ${output}`);
      expect(exitCode).toBe(64);
      expect(stderr).toMatch(/^cannot open .* for writing: it is open already/);
      expect(isUntouched(output)).toBe(true);
    } finally {
      held.close();
    }
  });

  it('says in words why the output cannot be looked at, and what to do when it is in use', async () => {
    const loop = `${directory}/output-loop`;
    symlinkSync(loop, loop);
    const looped = await runTool(`thin_restore -i ${xml} -o ${loop}`);
    expect(looped).toEqual({
      exitCode: 64,
      stdout: '',
      stderr: `cannot write '${loop}': too many symbolic links encountered\n  next step: check the path\n`,
    });
    const output = target();
    const other = openFileMetadataDevice(output, { mode: 'write' });
    try {
      const { exitCode, stderr } = await runTool(`thin_restore -i ${xml} -o ${output}`);
      expect(exitCode).toBe(64);
      expect(stderr).toContain('\n  effect: nothing has been written\n  next step: end what uses it');
    } finally {
      other.close();
    }
  });

  it('says where the XML is wrong, and that the output holds no metadata now', async () => {
    const output = target();
    const bad = textFile('bad.xml', readFileSync(xml, 'utf8').replace('snap_time="2"', 'snap_time="2" colour="blue"'));
    const { exitCode, stderr } = await runTool(`thin_restore -i ${bad} -o ${output}`);
    expect(exitCode).toBe(64);
    expect(stderr).toMatch(/^cannot restore '.*bad.xml': line \d+, column \d+ \(byte \d+\): .*colour/);
    expect(stderr).toContain(`\n  effect: '${output}' holds no valid metadata now\n`);
    expect(hasSuperblock(output)).toBe(false);
    expect((await runTool(`thin_dump ${output}`)).stderr).toContain('unformatted device');
  });

  it('says that the output is too small for the XML', async () => {
    const output = target(40_960);
    const { exitCode, stderr } = await runTool(`thin_restore -i ${xml} -o ${output}`);
    expect(exitCode).toBe(64);
    expect(stderr).toMatch(/too small for this metadata/);
    expect(hasSuperblock(output)).toBe(false);
  });

  it('stops when interrupted, with the shell’s exit code, and says what became of the output', async () => {
    const output = target();
    const interruption = new AbortController();
    let isCatching = false;
    let milliseconds = 0;
    const ran = await runTool(`thin_restore -i ${xml} -o ${output}`, {
      signal: interruption.signal,
      catchInterrupts: () => {
        isCatching = true;
      },
      now: () => (milliseconds += 1000), // every step is a slice of its own
      breathe: async () => interruption.abort(new InterruptedError(2)),
    });
    expect(isCatching).toBe(true);
    expect(ran).toEqual({
      exitCode: 130,
      stdout: '',
      stderr: `interrupted\n  effect: '${output}' holds no valid metadata now\n  next step: run it again\n`,
    });
    expect(hasSuperblock(output)).toBe(false);
  });

  it('shows a bar on a terminal, and takes it away again', async () => {
    let milliseconds = 0;
    const { stderr } = await runTool(`thin_restore -i ${xml} -o ${target()}`, {
      errColumns: 60,
      now: () => (milliseconds += 1000),
    });
    const eraseRest = '\x1b[K';
    expect(stderr).toBe(`\r[${'='.repeat(30)}] 100% restoring${eraseRest}\r${eraseRest}`);
    const quiet = await runTool(`thin_restore -q -i ${xml} -o ${target()}`, {
      errColumns: 60,
      now: () => (milliseconds += 1000),
    });
    expect(quiet.stderr).toBe('');
  });
});
