import { readFileSync, writeFileSync } from 'node:fs';
import { CloneMetadata } from '@pdata/clone';
import { MemoryMetadataDevice } from '@pdata/device';
import { openFileMetadataDevice } from '@pdata/device/node';
import { BLOCK_XOR, BlockImage } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { kernelImage, runTool, scratchDirectory, writeImage } from '../../test/run-tool.js';
import { PDATA_VERSION } from '../version.js';

const directory = scratchDirectory();
let nrImages = 0;

class CloneFile extends BlockImage<'superblock' | keyof typeof BLOCK_XOR> {
  constructor() {
    super(new Uint8Array(kernelImage('clone-partial')), { superblock: 257649492, ...BLOCK_XOR });
  }
  get arrayBlock(): number {
    return this.u64(this.u64(0, 188), 32 + 8 * 252);
  }
}

/** A file with the kernel's image, changed. */
function image(change: (image: CloneFile) => void = () => {}): string {
  const clone = new CloneFile();
  change(clone);
  return writeImage(directory, `${nrImages++}.img`, clone.bytes);
}
const blank = (nrBytes = 4 * 2 ** 20): string => writeImage(directory, `${nrImages++}.img`, Buffer.alloc(nrBytes));
const text = (content: string): string => writeImage(directory, `${nrImages++}.xml`, Buffer.from(content));

const FIGURES = 'REGION_SIZE=8\nTARGET_SIZE=32768\nREGIONS=4096\nHYDRATED_REGIONS=224\nMETADATA_FREE_BLOCKS=1018\n';
const TITLES = 'Checking clone metadata\nhydration bitset\nmetadata space map\n';
const SIZES = '--region-size 8 --target-size 32768';

describe('the commands for clones', () => {
  it.each(['clone_check', 'clone_dump', 'clone_restore', 'clone_repair'])('%s explains itself', async (name) => {
    const { exitCode, stdout, stderr } = await runTool(`${name} --help`);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout).toContain(`Usage: ${name} [OPTIONS]`);
    expect(stdout).toContain("pdata's own: no other tool reads the metadata of clones");
    expect(stdout).toMatch(/\nExit codes: 0 /);
    expect(stdout).toMatch(/\nExamples:\n/);
    for (const line of stdout.split('\n')) expect(line.length, line).toBeLessThanOrEqual(125);
    expect((await runTool(`${name} -V`)).stdout).toBe(`${PDATA_VERSION}\n`);
    expect((await runTool(`${name} --frob`)).exitCode).toBe(2);
  });
});

describe('clone_check', () => {
  it.each([
    ['', FIGURES, TITLES],
    [SIZES, FIGURES, TITLES],
    ['--super-block-only', FIGURES.replace('HYDRATED_REGIONS=224\n', ''), ''],
    ['-q', '', ''],
    ['--auto-repair', FIGURES, TITLES],
  ])('of sound metadata: %s', async (options, stdout, stderr) => {
    const argv = ['clone_check', ...options.split(' ').filter(Boolean), image()];
    expect(await runTool(argv)).toEqual({ exitCode: 0, stdout, stderr });
  });

  it('tells a fault with block, effect and next step, and ends with 64', async () => {
    const path = image((clone) => clone.put32(clone.arrayBlock, 100, 1));
    const { exitCode, stdout, stderr } = await runTool(`clone_check ${path}`);
    expect(exitCode).toBe(64);
    expect(stdout).toBe(FIGURES.replace('HYDRATED_REGIONS=224', 'UNREADABLE_REGIONS=4096'));
    expect(stderr).toContain('the bits of all 4096 regions cannot be read: whether these are hydrated is not known\n');
    expect(stderr).toMatch(
      /\nfatal: hydration bitset: array block in block \d+: checksum is .*\n {2}effect: Which of these .*\n {2}next step: Save what .*\n/,
    );
    expect(stderr).toContain('\n1 fatal error found\n');
  });

  it('refuses metadata of a clone of other sizes', async () => {
    const { exitCode, stderr } = await runTool(`clone_check --region-size 16 --target-size 32768 ${image()}`);
    expect(exitCode).toBe(64);
    expect(stderr).toContain('fatal: clone superblock, block 0: the region size is 8 sectors, but 16 were asked for\n');
  });

  it('finds leaks, and frees them when asked to', async () => {
    const leaky = image((clone) => {
      const index = clone.u64(0, 44 + 16);
      const bitmap = clone.u64(index, 16);
      const block = clone.block(bitmap);
      block[16 + 200 / 4] = 2; // block 200 has a count of 1
      clone
        .seal(bitmap, 'bitmap')
        .put32(index, 24, clone.u32(index, 24) - 1)
        .seal(index, 'index');
      clone.put64(0, 52, clone.u64(0, 52) + 1).seal(0, 'superblock');
    });
    const found = await runTool(`clone_check ${leaky}`);
    expect(found.exitCode).toBe(64);
    expect(found.stderr).toContain('leak: metadata space map: metadata block 200 is allocated, but nothing refers');
    expect(found.stderr).toContain('1 metadata blocks have leaked.\nperhaps you wanted to run with --auto-repair\n');
    const freed = await runTool(`clone_check --auto-repair ${leaky}`);
    expect(freed.exitCode).toBe(0);
    expect(freed.stderr).toContain('freed 1 leaked metadata blocks\n');
    expect((await runTool(`clone_check ${leaky}`)).stdout).toBe(FIGURES);
  });

  it('passes a misshapen bitset when told to', async () => {
    const path = image((clone) => clone.put64(0, 180, 8 * 4032).seal(0, 'superblock')); // a word fewer
    expect((await runTool(`clone_check ${path}`)).exitCode).toBe(64);
    expect((await runTool(`clone_check --ignore-non-fatal-errors ${path}`)).exitCode).toBe(0);
  });

  it('answers in JSON', async () => {
    const { stdout } = await runTool(`clone_check --json ${image()}`);
    expect(JSON.parse(stdout)).toEqual({
      tool: 'clone_check',
      ok: true,
      exitCode: 0,
      clean: true,
      fatal: 0,
      shape: 0,
      leaks: { metadata: 0 },
      findingsLeftOut: 0,
      notices: [],
      countsVerified: true,
      regionSize: 8,
      targetSize: 32768,
      nrRegions: 4096,
      nrHydrated: 224,
      nrUnreadable: 0,
      metadataFreeBlocks: 1018,
      findings: [],
      errors: [],
    });
  });

  it('writes nothing without a repair', async () => {
    const path = image();
    const before = readFileSync(path);
    await runTool(`clone_check ${path}`);
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  it.each([
    [
      "a thin pool's metadata",
      () => writeImage(directory, 'thin.img', kernelImage('thin-basic')),
      'is dm-thin metadata',
      'thin_check',
    ],
    [
      'a file system',
      () => image((clone) => clone.bytes.fill(0).set([0x53, 0xef], 1080)),
      'is an ext2, ext3 or ext4',
      'dmsetup table',
    ],
    ['a blank device', () => blank(), 'is an unformatted device', 'clone_restore writes metadata to it'],
    [
      'a wiped superblock',
      () => image((clone) => clone.block(0).fill(0)),
      'without its superblock',
      'clone_repair -i DAMAGED -o NEW --region-size',
    ],
    ['XML', () => text(`<superblock version="1">${' '.repeat(5000)}`), 'This looks like XML', 'clone_restore -i'],
    [
      'noise',
      () => image((clone) => clone.block(0).fill(0xa5)),
      'bad checksum in superblock: clone superblock',
      'clone_repair',
    ],
  ])('tells %s from damage', async (_, make, what, nextStep) => {
    for (const name of ['clone_check', 'clone_dump']) {
      const { exitCode, stdout, stderr } = await runTool(`${name} ${make()}`);
      expect({ exitCode, stdout }).toEqual({ exitCode: 64, stdout: '' });
      expect(stderr).toContain(what);
      expect(stderr).toMatch(new RegExp(`\n {2}next step: .*${nextStep}`));
    }
  });

  it('refuses a file that somebody has open, and one that is not there', async () => {
    const path = image();
    const open = openFileMetadataDevice(path, { mode: 'write' });
    const { exitCode, stderr } = await runTool(`clone_check ${path}`);
    open.close();
    expect(exitCode).toBe(64);
    expect(stderr).toContain('next step: end what uses it first: remove the clone (dmsetup remove)');
    expect((await runTool('clone_check /nowhere/meta')).stderr).toContain("Couldn't find input file '/nowhere/meta'");
  });
});

describe('clone_dump and clone_restore', () => {
  it('bring a clone back', async () => {
    const original = image();
    const dumped = await runTool(`clone_dump ${original}`);
    expect({ ...dumped, stdout: '' }).toEqual({ exitCode: 0, stdout: '', stderr: '' });
    expect(dumped.stdout).toMatch(
      /^<superblock version="1" region_size="8" target_size="32768" nr_regions="4096">\n {2}<hydrated begin="90" end="91"\/>\n/,
    );
    const restored = blank();
    expect(await runTool(`clone_restore -i ${text(dumped.stdout)} -o ${restored}`)).toEqual({
      exitCode: 0,
      stdout: '',
      stderr: '',
    });
    expect((await runTool(`clone_dump ${restored}`)).stdout).toBe(dumped.stdout);
    expect((await runTool(`clone_check ${restored}`)).stdout).toBe(FIGURES);
  });

  it('write to a file, never over the input', async () => {
    const path = image();
    const out = text('before');
    expect((await runTool(`clone_dump -o ${out} ${path}`)).exitCode).toBe(0);
    expect(readFileSync(out, 'utf8')).toMatch(/^<superblock/);
    const { exitCode, stderr } = await runTool(`clone_dump -o ${path} ${path}`);
    expect(exitCode).toBe(64);
    expect(stderr).toContain('is the input itself');
    expect(readFileSync(path).equals(kernelImage('clone-partial'))).toBe(true);
  });

  it('answer in JSON', async () => {
    const dump = JSON.parse((await runTool(`clone_dump --json ${image()}`)).stdout);
    expect(dump).toMatchObject({ tool: 'clone_dump', ok: true, exitCode: 0, lost: [], errors: [] });
    expect(dump.dump.superblock).toEqual({ version: 1, regionSize: 8, targetSize: 32768, nrRegions: 4096 });
    expect(dump.dump.hydrated[0]).toEqual([90, 91]);
    const xml = text(
      '<superblock region_size="8" target_size="800" nr_regions="100"><hydrated begin="1" end="3"/></superblock>',
    );
    const restored = JSON.parse((await runTool(`clone_restore --json -i ${xml} -o ${blank()}`)).stdout);
    expect(restored).toMatchObject({
      tool: 'clone_restore',
      ok: true,
      nrHydrated: 2,
      metadataBlocksUsed: 6,
      metadataBlocks: 1024,
      inDoubt: [],
    });
  });

  it('say where the XML is wrong, and change nothing', async () => {
    const output = image();
    const before = readFileSync(output);
    const xml = text(
      '<superblock region_size="8" target_size="800" nr_regions="100">\n<hydrated begin="1" end="101"/>',
    );
    const { exitCode, stderr } = await runTool(`clone_restore -i ${xml} -o ${output}`);
    expect(exitCode).toBe(64);
    expect(stderr).toBe(
      `cannot restore '${xml}': line 2, column 1 (byte 64): region 100 is outside the clone, which has 100 (nr_regions)\n` +
        '  effect: nothing has been written\n' +
        '  next step: make the XML again with clone_dump, or correct it there, and run clone_restore again\n',
    );
    expect(readFileSync(output).equals(before)).toBe(true);
  });

  it('refuse outputs and inputs that make no sense, before they write', async () => {
    const xml = text('<superblock region_size="8" target_size="800" nr_regions="100"></superblock>');
    for (const [line, says] of [
      [`-i ${xml} -o /nowhere/new.img`, "Couldn't find output file"],
      [`-i ${xml} -o ${xml}`, 'is both input and output'],
      [`-i ${xml} -o ${blank(5 * 4096)}`, 'Output file too small.'],
      [`-i ${image()} -o ${blank()}`, 'is not XML: it is the binary metadata of a clone'],
      [`-i ${text('')} -o ${blank()}`, 'is empty'],
    ] as const) {
      const { exitCode, stderr } = await runTool(`clone_restore ${line}`);
      expect(exitCode).toBe(64);
      expect(stderr).toContain(says);
    }
  });

  it('warn of regions in doubt', async () => {
    const xml = text(
      '<superblock region_size="8" target_size="795" nr_regions="100"><in_doubt begin="1" end="3"/><in_doubt begin="98" end="100"/></superblock>',
    );
    const { exitCode, stderr } = await runTool(`clone_restore -i ${xml} -o ${blank()}`);
    expect(exitCode).toBe(0);
    expect(stderr).toContain(
      'warning: 4 regions in doubt, taken for not hydrated:\n  regions 1 to 2: sectors 8 to 23\n  regions 98 to 99: sectors 784 to 794\n' +
        '  effect: What was written to them',
    );
  });
});

describe('clone_repair', () => {
  const damaged = () => image((clone) => clone.put32(clone.arrayBlock, 100, 1));

  it('saves what can be read, and says loudly which regions are in doubt', async () => {
    const input = damaged();
    const before = readFileSync(input);
    const output = blank();
    const { exitCode, stdout, stderr } = await runTool(`clone_repair -i ${input} -o ${output}`);
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: '' });
    expect(stderr).toContain(
      'warning: 4096 regions in doubt, taken for not hydrated:\n  regions 0 to 4095: sectors 0 to 32767\n',
    );
    expect(stderr).toContain('hydration overwrites it from the source');
    expect(stderr).toMatch(/\nlost: array block in block \d+: |^lost: array block in block \d+: /);
    expect(readFileSync(input).equals(before)).toBe(true);
    expect((await runTool(`clone_check ${output}`)).stdout).toContain('HYDRATED_REGIONS=0');
  });

  it('lists them in JSON, and so does a repairing dump', async () => {
    const repaired = JSON.parse((await runTool(`clone_repair --json -i ${damaged()} -o ${blank()}`)).stdout);
    expect(repaired).toMatchObject({ tool: 'clone_repair', ok: true, inDoubt: [{ begin: 0, end: 4096 }] });
    expect(repaired.lost[0].regions).toEqual({ begin: 0, end: 4096 });
    const dump = await runTool(`clone_dump --repair ${damaged()}`);
    expect(dump.exitCode).toBe(0);
    expect(dump.stdout).toContain('<in_doubt begin="0" end="4096"/>');
    expect(dump.stderr).toContain('warning: 4096 regions in doubt');
    expect((await runTool(`clone_dump ${damaged()}`)).exitCode).toBe(64);
  });

  it('needs the sizes when the superblock is lost, and then finds every bit', async () => {
    const lost = image((clone) => clone.block(0).fill(0xa5));
    const refused = await runTool(`clone_repair -i ${lost} -o ${blank()}`);
    expect(refused.exitCode).toBe(64);
    expect(refused.stderr).toMatch(
      /^the region size and the target size have to be given.*\n.*nothing has been written\n.*dmsetup table/,
    );
    const output = blank();
    const repaired = await runTool(`clone_repair ${SIZES} -i ${lost} -o ${output}`);
    expect(repaired.exitCode).toBe(0);
    expect(repaired.stderr).toContain('(224 hydrated)');
    expect((await runTool(`clone_dump ${output}`)).stdout).toBe((await runTool(`clone_dump ${image()}`)).stdout);
    const wiped = image((clone) => clone.block(0).fill(0));
    expect((await runTool(`clone_repair ${SIZES} -i ${wiped} -o ${output}`)).exitCode).toBe(0);
    expect((await runTool(`clone_check ${output}`)).stdout).toBe(FIGURES);
  });

  it('takes another bitset when told to', async () => {
    const output = blank();
    expect((await runTool(`clone_repair --override-bitset-root 4 -i ${image()} -o ${output}`)).exitCode).toBe(0);
    expect((await runTool(`clone_check ${output}`)).stdout).toContain('HYDRATED_REGIONS=0');
  });

  it.each([
    ['--region-size 12', 'the region size is a power of two from 8 to 2097152 sectors, not 12'],
    ['--region-size 16', 'holds a clone of 32768 sectors in regions of 8, not of 32768 in regions of 16'],
    ['--target-size 0', 'the size of a clone is a whole number of sectors, at least 1, not 0'],
  ])('refuses %s, and leaves the output alone', async (options, says) => {
    const output = writeImage(directory, 'kept.img', Buffer.alloc(2 ** 20, 7));
    const { exitCode, stderr } = await runTool(`clone_repair ${options} -i ${image()} -o ${output}`);
    expect(exitCode).toBe(64);
    expect(stderr).toContain(says);
    expect(readFileSync(output).equals(Buffer.alloc(2 ** 20, 7))).toBe(true);
  });

  it('refuses an output that is the input, and one that is too small', async () => {
    const path = image();
    expect((await runTool(`clone_repair -i ${path} -o ${path}`)).exitCode).toBe(64);
    expect(readFileSync(path).equals(kernelImage('clone-partial'))).toBe(true);
    const small = await runTool(`clone_repair -i ${path} -o ${blank(4096)}`);
    expect(small.stderr).toContain('Output file too small.');
  });

  it('reads a clone of two array blocks of which one is damaged', async () => {
    const device = new MemoryMetadataDevice({ nrBlocks: 64 });
    const metadata = CloneMetadata.format(device, { regionSize: 8, targetSize: 8 * 40_000 });
    metadata.setRangeHydrated(30_000, 35_000);
    metadata.preCommit();
    metadata.commit();
    const view = new DataView(device.bytes.buffer);
    const root = Number(view.getBigUint64(188, true));
    const second = Number(view.getBigUint64(root * 4096 + 32 + 8 * 252 + 8, true));
    device.bytes[second * 4096 + 99] = 1;
    const path = text('');
    writeFileSync(path, device.bytes);
    const output = blank();
    const { stderr } = await runTool(`clone_repair -i ${path} -o ${output}`);
    expect(stderr).toContain(
      'warning: 7424 regions in doubt, taken for not hydrated:\n  regions 32576 to 39999: sectors 260608 to 319999',
    );
    expect((await runTool(`clone_check ${output}`)).stdout).toContain('HYDRATED_REGIONS=2576\n');
  });
});
