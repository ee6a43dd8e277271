/** What guests/clone-twin.sh does, with our engine: the same operations, the same findings. */
import { createHash } from 'node:crypto';
import { CloneDevice, CloneMessageError, type CloneOptions } from '@pdata/clone';
import type { DataDevice, MetadataDevice } from '@pdata/device';
import { FaultyDataDevice, turned } from '@pdata/testing';
import { written } from '../src/iogen.js';

const SECTOR = 512;

export interface CloneDisks {
  readonly metadata: MetadataDevice;
  readonly source: DataDevice;
  readonly destination: DataDevice;
}

/** Findings in the order in which they were made: `KEY VALUE`. */
export async function throughOurEngine(disks: CloneDisks, operations: readonly string[]): Promise<string[]> {
  const twin = new OurTwin(disks);
  for (const line of operations) await twin.do(line);
  return twin.findings;
}

class OurTwin {
  readonly findings: string[] = [];
  readonly #metadata: MetadataDevice;
  readonly #source: FaultyDataDevice;
  readonly #destination: FaultyDataDevice;
  #clone!: CloneDevice;
  #nrEvents = 0;

  constructor({ metadata, source, destination }: CloneDisks) {
    this.#metadata = metadata;
    // A read takes its time, so that hydration can be stopped on its way.
    this.#source = new FaultyDataDevice(source, [], { delay: turned });
    this.#destination = new FaultyDataDevice(destination);
  }

  async do(line: string): Promise<void> {
    const [what, first = '', ...rest] = line.split(' ');
    switch (what) {
      case 'create':
        return this.#attempt('create', () => this.#create(Number(first), Number(rest[0]), rest.slice(1)));
      case 'remove':
        return this.#clone.close().catch(() => {}); // dmsetup does not say either
      case 'message':
        return this.#attempt('message', () => this.#clone.message(line.slice('message '.length)));
      case 'write':
      case 'discard':
        return this.#attempt(what, () => this.#io(what, [first, ...rest].map(Number)));
      case 'source':
        return this.#fail(this.#source, first === 'error');
      case 'destination':
        return this.#fail(this.#destination, first === 'error');
      case 'hydrate':
        while (this.#clone.status().nrHydrated < Number(first)) await turned();
        return;
      case 'status':
        if (first !== 'noflush') await this.#clone.commit(); // as the kernel does
        return this.#found('status', `0 ${this.#clone.size / SECTOR} clone ${this.#clone.statusLine()}`);
      case 'events':
        return this.#found('events', this.#nrEvents);
      case 'sum': {
        const bytes = new Uint8Array(this.#clone.size);
        await this.#clone.read(0, bytes);
        return this.#found('sum', `0 ${createHash('sha256').update(bytes).digest('hex')}`);
      }
      default:
        throw new Error(`there is no operation ${what}`);
    }
  }

  #found(key: string, value: string | number): void {
    this.findings.push(`${key} ${value}`);
  }

  async #attempt(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.#found(what, 'OK');
    } catch (error) {
      // iogen does not say which error it was, and of a table that is refused dmsetup says another one.
      this.#found(what, error instanceof CloneMessageError ? 'ERROR Invalid argument' : 'ERROR');
      if (error instanceof CloneMessageError) for (const line of error.log) this.#found('log', line);
    }
  }

  async #create(sectors: number, regionSize: number, args: readonly string[]): Promise<void> {
    const numberBehind = (name: string): object => {
      const at = args.indexOf(name);
      return at < 0 ? {} : { [camelCase(name)]: Number(args[at + 1]) };
    };
    const options: CloneOptions = {
      size: sectors * SECTOR,
      noHydration: args.includes('no_hydration'),
      noDiscardPassdown: args.includes('no_discard_passdown'),
      ...numberBehind('hydration_threshold'),
      ...numberBehind('hydration_batch_size'),
    };
    const devices = { source: this.#source, destination: this.#destination };
    this.#clone = await CloneDevice.openOrFormat(this.#metadata, devices, { ...options, regionSize });
    this.#nrEvents = 0;
    this.#clone.on('complete', () => this.#nrEvents++);
    this.#clone.on('mode', () => this.#nrEvents++);
  }

  async #io(what: 'write' | 'discard', args: readonly number[]): Promise<void> {
    const [seed, count, size, start, length] = args as [number, number, number, number, number];
    for (const { offset, bytes } of written(seed, count, size, length, start)) {
      if (what === 'write') await this.#clone.write(offset, bytes);
      else await this.#clone.discard(offset, size);
    }
    await this.#clone.flush();
  }

  async #fail(device: FaultyDataDevice, isToFail: boolean): Promise<void> {
    device.heal();
    if (!isToFail) return;
    for (const operation of ['read', 'write', 'writeZeroes', 'discard', 'flush'] as const)
      device.inject({ operation, nth: device.nrDone(operation) + 1, andLater: true });
  }
}

const camelCase = (name: string): string => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
