import { describe, expect, it } from 'vitest';
import { kernelImage, runTool, scratchDirectory, writeImage } from '../../test/run-tool.js';

const directory = scratchDirectory();

function imageWith(at: number, bytes: readonly number[]): Buffer {
  const image = Buffer.alloc(128 * 1024, 0x5a);
  image.set(bytes, at);
  return image;
}
const letters = (text: string): number[] => [...Buffer.from(text, 'latin1')];

describe.each(['thin_dump', 'thin_ls'])('%s tells a wrong device from a damaged one', (name) => {
  it.each([
    ['cache', 32, [0x03, 0xc4, 0x18, 0, 0, 0, 0, 0], 'dm-cache metadata', 'use cache_check'],
    ['era', 32, [0x7b, 0x07, 0xc1, 0x7e, 0, 0, 0, 0], 'dm-era metadata', 'use era_check'],
    ['clone', 32, [0x64, 0x7f, 0xf2, 0x8a, 0, 0, 0, 0], 'dm-clone metadata', 'use clone_check'],
    ['mirror', 0, letters('rRiM'), "a dm-mirror's log", '_tmeta'],
    ['ext4', 1080, [0x53, 0xef], 'an ext2, ext3 or ext4 file system', '_tmeta'],
    ['xfs', 0, letters('XFSB'), 'an XFS file system', '_tmeta'],
    ['btrfs', 65600, letters('_BHRfS_M'), 'a Btrfs file system', '_tmeta'],
    ['lvm', 512, letters('LABELONE'), 'an LVM physical volume', '_tmeta'],
    ['luks', 0, [...letters('LUKS'), 0xba, 0xbe], 'an encrypted volume (LUKS)', '_tmeta'],
    ['gzip', 0, [0x1f, 0x8b], 'a file compressed with gzip', 'gunzip'],
    ['pack', 0, [0x77, 0xef, 0x09, 0x63, 0xaa, 0xa0, 0x37, 0xa5], 'a packed metadata file', 'thin_metadata_unpack'],
    ['zero', 0, new Array<number>(4096).fill(0), 'an unformatted device', 'the kernel formats such a device'],
  ])('%s', async (kind, at, bytes, what, nextStep) => {
    const path = writeImage(directory, `${kind}.img`, imageWith(at, bytes));
    const { exitCode, stdout, stderr } = await runTool(`${name} ${path}`);
    expect({ exitCode, stdout }).toEqual({ exitCode: 64, stdout: '' });
    expect(stderr).toContain(`bad checksum in superblock: '${path}' is ${what}`);
    expect(stderr).toMatch(new RegExp(`\n {2}next step: .*${nextStep}`));
  });

  it('and a new device from a pool whose superblock has been wiped, which a kernel would format', async () => {
    const image = kernelImage('thin-basic');
    image.fill(0, 0, 4096);
    const path = writeImage(directory, 'wiped.img', image);
    for (const command of [name, 'thin_check', 'thin_dump --repair']) {
      const { exitCode, stdout, stderr } = await runTool(`${command} ${path}`);
      expect({ exitCode, stdout }).toEqual({ exitCode: 64, stdout: '' });
      expect(stderr).toContain(`'${path}' is metadata without its superblock, which is all zeros`);
      expect(stderr).toMatch(/\n {2}effect: .*do not activate it\n/);
      expect(stderr).toMatch(/\n {2}next step: .*thin_dump --repair --data-block-size SECTORS\n/);
    }
    const repaired = await runTool(`thin_dump --repair --data-block-size 128 ${path}`);
    expect(repaired.exitCode).toBe(0);
    expect(repaired.stdout).toContain('<device dev_id=');
  });

  it('and XML from metadata', async () => {
    const path = writeImage(
      directory,
      'dump.xml',
      Buffer.concat([Buffer.from('<superblock uuid=""'), Buffer.alloc(5000, 32)]),
    );
    const { exitCode, stderr } = await runTool(`${name} ${path}`);
    expect(exitCode).toBe(64);
    expect(stderr).toMatch(/^This looks like XML\. {2}This tool only supports the binary metadata format\.\n/);
  });

  it('and calls what it does not know damaged, with block, found and expected', async () => {
    const path = writeImage(directory, 'noise.img', imageWith(0, []));
    const { exitCode, stderr } = await runTool(`${name} ${path}`);
    expect(exitCode).toBe(64);
    expect(stderr).toMatch(/^bad checksum in superblock: thin superblock in block 0: \w+ is .+, expected .+\n/);
    expect(stderr).toMatch(/\n {2}effect: .+\n {2}next step: .+\n$/);
  });
});
