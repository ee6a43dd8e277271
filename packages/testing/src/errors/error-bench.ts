/** One operation run on fresh devices, unharmed or with one fault; and the judgement of what it leaves. */
import {
  type DataDevice,
  MemoryDataDevice,
  MemoryMetadataDevice,
  type MetadataDevice,
  StoreError,
} from '@pdata/device';
import type { CrashDevices, CrashMedia } from '../crash/crash-subject.js';
import { inWords } from '../crash/in-words.js';
import { FaultyDataDevice } from '../faulty-data-device.js';
import { FaultyMetadataDevice } from '../faulty-metadata-device.js';
import type { ErrorSubject, FaultSource } from './error-subject.js';

const METADATA_REQUESTS = ['read', 'write', 'flush', 'grow'] as const;
const DATA_REQUESTS = ['read', 'write', 'writeZeroes', 'discard', 'flush'] as const;

interface FaultPoint {
  /** `metadata write`, `allocation of data blocks`. */
  readonly kind: string;
  readonly nrDone: () => number;
  readonly arm: (nth: number, andLater: boolean, landsPartly: boolean) => void;
}

export type FaultMode = { readonly name: string; readonly andLater: boolean; readonly landsPartly: boolean };
export interface Unharmed {
  /** How often the operation makes each kind of request. */
  readonly counts: ReadonlyMap<string, number>;
  readonly shownBefore: string;
  readonly shownAfter: string;
  readonly before: string;
  readonly after: string;
}

/** The devices of one run. */
interface Setup<Media extends CrashMedia> {
  readonly devices: CrashDevices<Media>;
  readonly points: readonly FaultPoint[];
  heal(): void;
  /** What is on the media now, as devices of their own. */
  copies(): CrashDevices<Media>;
}

export class ErrorBench<Session, Media extends CrashMedia> {
  readonly #subject: ErrorSubject<Session, Media>;
  readonly #contents: ReadonlyMap<string, Uint8Array>;

  private constructor(subject: ErrorSubject<Session, Media>, contents: ReadonlyMap<string, Uint8Array>) {
    this.#subject = subject;
    this.#contents = contents;
  }

  static async make<Session, Media extends CrashMedia>(
    subject: ErrorSubject<Session, Media>,
  ): Promise<ErrorBench<Session, Media>> {
    const media = Object.entries(subject.media).map(([name, { nrBlocks, size }]) => {
      const device =
        nrBlocks === undefined
          ? new MemoryDataDevice({ name, bytes: new Uint8Array(size) })
          : new MemoryMetadataDevice({ name, nrBlocks });
      return [name, device] as const;
    });
    await subject.prepare(Object.fromEntries(media) as unknown as CrashDevices<Media>);
    return new ErrorBench(subject, new Map(media.map(([name, { bytes }]) => [name, bytes as Uint8Array])));
  }

  async unharmed(operation: string): Promise<Unharmed> {
    const { devices, points, copies } = this.#setup();
    const before = await this.#subject.recover(copies());
    const session = await this.#subject.open(devices);
    const shownBefore = await this.#subject.inspect(session);
    this.#watch();
    const counts = new Map(points.map(({ kind, nrDone }) => [kind, nrDone()]));
    await this.#operation(operation)(session);
    for (const { kind, nrDone } of points) counts.set(kind, nrDone() - (counts.get(kind) ?? 0));
    this.#disarm();
    const shownAfter = await this.#subject.inspect(session);
    await this.#subject.close(session);
    const after = await this.#subject.recover(copies());
    if (after === before)
      throw new Error(
        `${operation} of ${this.#subject.name} changes nothing on the devices: nothing can be told from it`,
      );
    return { counts, shownBefore, shownAfter, before, after };
  }

  /** One run with one fault; what is wrong. */
  async harmed(
    operation: string,
    unharmed: Unharmed,
    kind: string,
    nth: number,
    mode: FaultMode,
  ): Promise<string | undefined> {
    const setup = this.#setup();
    const session = await this.#subject.open(setup.devices);
    await this.#subject.inspect(session);
    this.#watch();
    setup.points.find((point) => point.kind === kind)?.arm(nth, mode.andLater, mode.landsPartly);
    try {
      return await this.#judge(operation, unharmed, session, setup, kind);
    } catch (error) {
      return inWords(error);
    } finally {
      this.#disarm();
    }
  }

  async #judge(
    operation: string,
    { shownBefore, shownAfter, before, after }: Unharmed,
    session: Session,
    setup: Setup<Media>,
    kind: string,
  ): Promise<string | undefined> {
    const subject = this.#subject;
    const thrown = await this.#attempt(() => this.#operation(operation)(session));
    if (thrown.unexpected !== undefined) return `it throws ${thrown.unexpected}`;
    if (!thrown.threw && !(subject.mayFail ?? []).includes(kind)) return 'it succeeds all the same';
    const left = await subject.recover(setup.copies());
    if (left !== before && left !== after) return `the devices hold neither the old state nor the new: ${short(left)}`;
    if (!thrown.threw && left !== after) return 'it succeeded, but the devices hold the old state';
    let shown: string | undefined;
    const looked = await this.#attempt(async () => {
      shown = await subject.inspect(session);
    });
    if (looked.unexpected !== undefined) return `looking at the object throws ${looked.unexpected}`;
    if (shown !== undefined && shown !== shownBefore && shown !== shownAfter)
      return `the object shows neither the old state nor the new: ${short(shown)}`;
    const isKept = shown === shownAfter && left !== after;
    if (isKept && !(subject.mayKeep ?? []).includes(kind))
      return 'the object shows the new state, but the devices hold the old one';
    setup.heal();
    this.#disarm();
    if (shown === shownBefore && thrown.threw) {
      const again = await this.#attempt(() => this.#operation(operation)(session));
      if (again.unexpected !== undefined) return `tried again, it throws ${again.unexpected}`;
      if (!again.threw && (await subject.recover(setup.copies())) !== after)
        return 'tried again, it succeeds, but the devices do not hold the new state';
    }
    const closed = await this.#attempt(() => subject.close(session));
    if (closed.unexpected !== undefined) return `closing throws ${closed.unexpected}`;
    const reopened = await subject.open(setup.devices);
    const found = await subject.inspect(reopened);
    await subject.close(reopened);
    const state = await subject.recover(setup.copies());
    if (isKept && state !== after) return 'it showed the new state, and was closed, but the devices hold the old one';
    if (state !== before && state !== after)
      return `reopened, the devices hold neither the old state nor the new: ${short(state)}`;
    if (found !== (state === before ? shownBefore : shownAfter)) return `reopened, it shows ${short(found)}`;
    return undefined;
  }

  #operation(name: string): (session: Session) => unknown {
    const operation = this.#subject.operations[name];
    if (operation === undefined) throw new RangeError(`${this.#subject.name} has no operation ${name}`);
    return operation;
  }

  async #attempt(work: () => unknown): Promise<{ readonly threw: boolean; readonly unexpected?: string }> {
    try {
      await work();
      return { threw: false };
    } catch (error) {
      const isExpected = this.#subject.isExpected?.(error) ?? error instanceof StoreError;
      return isExpected ? { threw: true } : { threw: true, unexpected: inWords(error) };
    }
  }

  #setup(): Setup<Media> {
    const media: { readonly name: string; readonly memory: MemoryMetadataDevice | MemoryDataDevice }[] = [];
    const devices: Record<string, MetadataDevice | DataDevice> = {};
    const points: FaultPoint[] = [];
    const heals: (() => void)[] = [];
    for (const [name, { nrBlocks }] of Object.entries(this.#subject.media)) {
      const bytes = (this.#contents.get(name) as Uint8Array).slice();
      if (nrBlocks !== undefined) {
        const memory = new MemoryMetadataDevice({ name, bytes });
        const faulty = new FaultyMetadataDevice(memory);
        media.push({ name, memory });
        devices[name] = faulty;
        heals.push(() => faulty.heal());
        for (const operation of METADATA_REQUESTS) {
          points.push({
            kind: `${name} ${operation}`,
            nrDone: () => faulty.nrDone(operation),
            arm: (nth, andLater, landsPartly) =>
              faulty.inject({ operation, nth: faulty.nrDone(operation) + nth, andLater, landsPartly }),
          });
        }
      } else {
        const memory = new MemoryDataDevice({ name, bytes });
        const faulty = new FaultyDataDevice(memory);
        media.push({ name, memory });
        devices[name] = faulty;
        heals.push(() => faulty.heal());
        for (const operation of DATA_REQUESTS) {
          points.push({
            kind: `${name} ${operation}`,
            nrDone: () => faulty.nrDone(operation),
            arm: (nth, andLater, landsPartly) =>
              faulty.inject({ operation, nth: faulty.nrDone(operation) + nth, andLater, landsPartly }),
          });
        }
      }
    }
    for (const [kind, source] of this.#sources) {
      points.push({ kind, nrDone: () => source.nrDone, arm: (nth, andLater) => source.arm(nth, andLater) });
    }
    const copies = () =>
      Object.fromEntries(
        media.map(({ name, memory }) => {
          const bytes = (memory.bytes as Uint8Array).slice();
          return [
            name,
            memory instanceof MemoryMetadataDevice
              ? new MemoryMetadataDevice({ name, bytes })
              : new MemoryDataDevice({ name, bytes }),
          ];
        }),
      ) as unknown as CrashDevices<Media>;
    const heal = (): void => {
      for (const healOne of heals) healOne();
    };
    return { devices: devices as unknown as CrashDevices<Media>, points, heal, copies };
  }

  get #sources(): [string, FaultSource][] {
    return Object.entries(this.#subject.sources ?? {});
  }

  #watch(): void {
    for (const [, source] of this.#sources) source.watch();
  }

  #disarm(): void {
    for (const [, source] of this.#sources) source.disarm();
  }
}

function short(state: string): string {
  return state.length <= 300 ? state : `${state.slice(0, 300)}… (${state.length} characters)`;
}
