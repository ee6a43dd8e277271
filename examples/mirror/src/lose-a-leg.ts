/** A leg is taken away while a client writes, and brought back: only what it has missed is copied. Each step is told. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { basename, join } from 'node:path';
import type { DataDevice } from '@pdata/device';
import { openFileDataDevice } from '@pdata/device/node';
import { type RegionDifference, verifyMirror } from '@pdata/mirror';
import { connectNbd } from '@pdata/nbd';
import { REGION_SIZE, serveMirroredDisk } from './mirrored-disk.js';

const MIB = 2 ** 20;
const SIZE = 64 * MIB;
const BLOCK = 256 * 1024;

/**
 * Tells it all with files in `folder`, which stay there.
 * @returns whether everything was as it should be
 */
export async function loseALeg(folder: string, say: (line: string) => void): Promise<boolean> {
  const legs = ['leg0.img', 'leg1.img'].map((name) => join(folder, name));
  const socket = join(folder, 'nbd.sock');
  const disk = await serveMirroredDisk({ legs, log: join(folder, 'log.img'), socket }, SIZE);
  const { mirror } = disk;
  const status = (): string =>
    `  mirror: ${mirror.statusLine().replaceAll(folder, '').replaceAll('/leg', 'leg').replaceAll('/log', 'log')}`;
  await mirror.untilResynced();
  say(`both files are the same: ${mirror.status().nrRegions} regions of ${(REGION_SIZE * 512) / MIB} MiB`);

  const client = await connectNbd({ socketPath: socket }, { exportName: 'disk' });
  say(`a client writes over nbd+unix:///disk?socket=${basename(socket)}`);
  await writeBlocks(client, 0, 20);
  const writing = writeBlocks(client, 20, 120); // goes on through all that follows
  await mirror.detachLeg(1);
  say('leg 1 is taken away, the client writes on');
  await writeBlocks(client, 160, 20);
  await client.flush();
  say(status());

  const { nrRegions, syncCount } = mirror.status();
  await writing;
  let nrCopied = 0;
  const forget = mirror.on('resync', () => nrCopied++);
  await mirror.attachLeg(1, disk.legs[1] as DataDevice, { resync: 'written' });
  await mirror.untilResynced();
  forget();
  say(`leg 1 is back: ${nrCopied} regions are copied, of ${nrRegions}`);
  say(status());
  const isSynced = mirror.status().isInSync && syncCount < nrRegions && nrCopied < nrRegions;
  await client.close();
  await disk.close();

  const differences = await differencesOf(legs);
  const [first, second] = await Promise.all(legs.map(sha256));
  const isSame = differences.length === 0 && first === second && (await holdsWhatWasWritten(legs[1] as string));
  say(isSame ? 'both files are the same, and hold what the client wrote' : 'the files differ: please report this');
  return isSynced && isSame;
}

/** Blocks `first` and the `nr` after it, each full of its number, eight at a time. */
async function writeBlocks(device: DataDevice, first: number, nr: number): Promise<void> {
  let next = first;
  const writer = async (): Promise<void> => {
    while (next < first + nr) {
      const block = next++;
      await device.write(block * BLOCK, new Uint8Array(BLOCK).fill(valueIn(block)));
    }
  };
  await Promise.all(Array.from({ length: 8 }, writer));
}

const valueIn = (block: number): number => 1 + (block % 255);

async function holdsWhatWasWritten(path: string): Promise<boolean> {
  const leg = await openFileDataDevice(path, { mode: 'read' });
  const bytes = new Uint8Array(BLOCK);
  let isRight = true;
  for (const block of [...Array(140).keys(), ...Array.from({ length: 20 }, (_, nr) => 160 + nr)]) {
    await leg.read(block * BLOCK, bytes);
    isRight &&= bytes.every((byte) => byte === valueIn(block));
  }
  await leg.close();
  return isRight;
}

async function differencesOf(paths: readonly string[]): Promise<RegionDifference[]> {
  const legs = await Promise.all(paths.map((path) => openFileDataDevice(path, { mode: 'read' })));
  const found: RegionDifference[] = [];
  for await (const difference of verifyMirror({ legs: legs.map((device) => ({ device })), regionSize: REGION_SIZE }))
    found.push(difference);
  for (const leg of legs) await leg.close();
  return found;
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  return hash.digest('hex');
}
