import { describe, expect, it } from 'vitest';
import { runTool } from '../../test/run-tool.js';

/** What thin_metadata_size 1.1.0 prints for `-b 64k -s 1t -m 1000 -u UNIT`. */
const IN_UNITS: Record<string, string> = {
  b: '549494784 bytes',
  s: '1073232 sectors',
  k: '536616 kibibytes',
  m: '524.04 mebibytes',
  g: '0.5117568969726563 gibibytes',
  p: '0.0000004880494088865817 pebibytes',
  e: '0.0000000004766107508658024 exbibytes',
  K: '549494.78 kilobytes',
  M: '549.49 megabytes',
  G: '0.549494784 gigabytes',
  T: '0.000549494784 terabytes',
  P: '0.000000549494784 petabytes',
  E: '0.000000000549494784 exabytes',
  byte: '549494784 bytes',
  sector: '1073232 sectors',
  kibibyte: '536616 kibibytes',
  kB: '549494.78 kilobytes',
  MiB: '524.04 mebibytes',
  PB: '0.000000549494784 petabytes',
};

describe('thin_metadata_size prints what 1.1.0 prints', () => {
  it.each([
    ['-b 64k -s 1t -m 1000', '1073232 sectors'],
    ['-b64k -s1t -m1000', '1073232 sectors'],
    ['-b=64k -s=1t -m=1000', '1073232 sectors'],
    ['--block-size=64k --pool-size 1t --max-thins=1000', '1073232 sectors'],
    ['-b 64k -s 1t -m 1000 -n', '1073232'],
    ['-b 64k -s 1t -m 1000 --numeric-only', '1073232'],
    ['-b 64k -s 1t -m 1000 --numeric-only=short', '1073232s'],
    ['-b 64k -s 1t -m 1000 -n=long', '1073232sectors'],
    ['-b 64k -s 1t -m 1000 -u m -n=short', '524.04m'],
    ['-b 64k -s 1t -m 1000 -nu m', '524.04'],
    ['-b 128 -s 1t -m 1', '1065240 sectors'],
    ['-b 65536byte -s 1T -m 1', '968832 sectors'],
    ['-b 64k -s 1000p -m 1', '33292800 sectors'],
    ['-b 64k -s 1t -m 4294967296', '33292800 sectors'],
    ['-b 64k -s 64k -m +5', '56 sectors'],
    ['-b 64k -s 64k -m 007', '72 sectors'],
    ['-b 64k -s 64k -m 286 -u m', '1.12 mebibytes'],
    ['-b 64k -s 64k -m 287 -u m', '1.13 mebibytes'],
    ['-b 64k -s 64k -m 542 -u m', '2.12 mebibytes'],
    ['-b 64k -s 64k -m 126 -u m', '0.5 mebibytes'],
    ['-b 64k -s 64k -m 382 -u m', '1.50 mebibytes'],
    ['-b 64k -s 64k -m 254 -u m', '1 mebibytes'],
    ['-b 64k -s 65k -m 1 -u P', '0.000000000012288 petabytes'],
  ])('%s', async (options, printed) => {
    expect(await runTool(`thin_metadata_size ${options}`)).toEqual({ exitCode: 0, stdout: `${printed}\n`, stderr: '' });
  });

  it.each(Object.entries(IN_UNITS))('in unit %s', async (unit, printed) => {
    const { stdout, exitCode } = await runTool(`thin_metadata_size -b 64k -s 1t -m 1000 -u ${unit}`);
    expect({ stdout, exitCode }).toEqual({ stdout: `${printed}\n`, exitCode: 0 });
  });

  it('except that tebibytes are called so, where 1.1.0 says terabytes', async () => {
    const { stdout } = await runTool('thin_metadata_size -b 64k -s 1t -m 1000 -u t');
    expect(stdout).toBe('0.0004997625946998596 tebibytes\n');
  });

  it.each(['64kibibytes', '64kibi', '64ki', '65536bytes', '128sec'])(
    'and takes block size %s, as 0.9.0 does',
    async (size) => {
      const { stdout } = await runTool(`thin_metadata_size -b ${size} -s 1tebi -m 1000`);
      expect(stdout).toBe('1073232 sectors\n');
    },
  );
});

describe('thin_metadata_size refuses what 1.1.0 refuses', () => {
  it.each([
    ['-b 127 -s 1t -m 1', 'block size must be a multiple of 64 KiB'],
    ['-b 96k -s 1t -m 1', 'block size must be a multiple of 64 KiB'],
    ['-b 0 -s 1t -m 1', 'block size must be a multiple of 64 KiB'],
    ['-b 64K -s 1t -m 1', 'block size must be a multiple of 64 KiB'],
    ['-b 2g -s 1t -m 1', 'maximum block size is 1 GiB'],
    ['-b 1025m -s 1t -m 1', 'maximum block size is 1 GiB'],
    ['-b 64k -s 0 -m 1', 'pool size must be larger than block size'],
    ['-b 64k -s 127 -m 1', 'pool size must be larger than block size'],
  ])('%s: 64, %s', async (options, message) => {
    const ran = await runTool(`thin_metadata_size ${options}`);
    expect(ran).toMatchObject({ exitCode: 64, stdout: '' });
    expect(ran.stderr.split('\n')[0]).toBe(message);
  });

  it.each([
    ['-b 64k -s 1t -m 1000 -n short', "unexpected argument 'short' found"],
    ['-b 64k -s 1t -m 1000 -nshort', "the argument '--pool-size <SIZE[bskmgtp]>' cannot be used multiple times"],
    ['-b 64k -s 1t -m 1000 -n=foo', "invalid value 'foo' for '--numeric-only[=<OPT>]'"],
    ['-b 64k -s 1t -m 1000 -n=', "a value is required for '--numeric-only[=<OPT>]' but none was supplied"],
    ['-b 64k -s 1t -m 1000 -u KB', "invalid value 'KB' for '--unit <UNIT>': Invalid unit specifier"],
    ['-b 64k -s 1t -m 1000 -u B', "invalid value 'B' for '--unit <UNIT>': Invalid unit specifier"],
    ['-b 64k -s 1t -m 1 -u m -u k', "the argument '--unit <UNIT>' cannot be used multiple times"],
    ['-b -1 -s 1t -m 1', "unexpected argument '-1' found"],
    ['-b 1.5m -s 1t -m 1', "invalid value '1.5m' for '--block-size <SIZE[bskmg]>': Invalid unit specifier"],
    [
      '-b +64k -s 1t -m 1',
      "invalid value '+64k' for '--block-size <SIZE[bskmg]>': cannot parse integer from empty string",
    ],
    [
      '-b 99999999999999999999 -s 1t -m 1',
      "invalid value '99999999999999999999' for '--block-size <SIZE[bskmg]>': number too large to fit in target type",
    ],
    [
      '-b 18446744073709551615 -s 1t -m 1',
      "invalid value '18446744073709551615' for '--block-size <SIZE[bskmg]>': value out of bounds",
    ],
    ['-b 64k -s 16384p -m 1', "invalid value '16384p' for '--pool-size <SIZE[bskmgtp]>': value out of bounds"],
    [
      '-b 64k -s 1t -m 18446744073709551616',
      "invalid value '18446744073709551616' for '--max-thins <NUM>': number too large to fit in target type",
    ],
    ['-b 64k -s 1t -m 0x10', "invalid value '0x10' for '--max-thins <NUM>': invalid digit found in string"],
    ['-b 64k -s 1t -m 1 extra', "unexpected argument 'extra' found"],
    ['-q', "unexpected argument '-q' found"],
    ['-b 64k', 'the following required arguments were not provided:'],
    ['-b', "a value is required for '--block-size <SIZE[bskmg]>' but none was supplied"],
  ])('%s: 2, %s', async (options, message) => {
    const ran = await runTool(`thin_metadata_size ${options}`);
    expect(ran).toMatchObject({ exitCode: 2, stdout: '' });
    expect(ran.stderr.split('\n')[0]).toBe(`error: ${message}`);
    expect(ran.stderr).toContain("For more information, try 'thin_metadata_size --help'.");
  });
});

it('tells the estimate in JSON', async () => {
  const { stdout } = await runTool('thin_metadata_size -b 64k -s 1000p -m 18446744073709551615 -u m --json');
  expect(JSON.parse(stdout)).toEqual({
    tool: 'thin_metadata_size',
    ok: true,
    exitCode: 0,
    blockSize: 65_536,
    poolSize: '1125899906842624000',
    maxThins: '18446744073709551615',
    metadataBlocks: 4_161_600,
    metadataSectors: 33_292_800,
    metadataBytes: 17_045_913_600,
    size: '16256.25',
    unit: 'mebibytes',
    errors: [],
  });
});
