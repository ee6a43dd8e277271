/** One workload of an exploration: recorded anew for each attempt, as a whole or in part, and walked. */
import { type DataDevice, MemoryDataDevice, MemoryMetadataDevice, type MetadataDevice } from '@pdata/device';
import { FaultyDataDevice, type FaultyDataOperation } from '../faulty-data-device.js';
import { seededRandom } from '../seeded-random.js';
import { SlowMetadataDevice } from '../slow-metadata-device.js';
import type { Choice, ChoiceBounds } from './crash-choices.js';
import { CrashMediumState } from './crash-medium.js';
import { type CrashEvent, CrashRecording } from './crash-recording.js';
import type { CrashDevices, CrashMedia, CrashMoment, CrashSubject } from './crash-subject.js';
import { CrashWalk, type WrongState } from './crash-walk.js';
import { inWords } from './in-words.js';

/** Devices between the program and the recording: a lying one shows what the program does with it. */
export type Disguise = {
  metadata?(device: MetadataDevice, name: string): MetadataDevice;
  data?(device: DataDevice, name: string): DataDevice;
};

export interface CrashExploration<Operation, Media extends CrashMedia, State> extends ChoiceBounds {
  readonly subject: CrashSubject<Operation, Media, State>;
  /** A whole number from 0 on. */
  readonly seed: number;
  /** Explores workloads until so many states were judged. Default 10 000. */
  readonly states?: number;
  /** Explores at most so many workloads. Default: no bound. */
  readonly workloads?: number;
  readonly disguise?: Disguise;
  /** One distinct image in so many is recovered thoroughly, chosen by its content. Default 16. */
  readonly thoroughEvery?: number;
  /** States that may be tried, in all, to make a violation small. Default 50 000. */
  readonly shrinkStates?: number;
  /** For the report: the command that replays a crash. */
  readonly replayCommand?: (token: string) => string;
}

interface Recorded<State> {
  readonly walk: CrashWalk<State>;
  readonly events: readonly CrashEvent<State>[];
}

/** One workload, or a part of it, to be run as often as it takes. */
export class CrashWorkloadRun<Operation, Media extends CrashMedia, State> {
  readonly seed: number;
  readonly names: readonly string[];
  readonly #exploration: Omit<CrashExploration<Operation, Media, State>, 'seed'>;
  readonly #operations: readonly Operation[];

  constructor(exploration: Omit<CrashExploration<Operation, Media, State>, 'seed'>, seed: number) {
    this.seed = seed;
    this.names = Object.keys(exploration.subject.media);
    this.#exploration = exploration;
    this.#operations = exploration.subject.operations(seededRandom(seed));
  }

  get subject(): string {
    return this.#exploration.subject.name;
  }

  /** Indices of all operations. */
  get all(): number[] {
    return this.#operations.map((_, index) => index);
  }

  shown(operations: readonly number[]): readonly Operation[] {
    return operations.map((index) => this.#operations[index] as Operation);
  }

  /** Every crash state up to the first wrong one. */
  async explore(
    operations: readonly number[],
  ): Promise<{ wrong: WrongState | undefined; nrStates: number; nrDistinct: number }> {
    const recorded = await this.#attempt(operations);
    if ('problem' in recorded) return { wrong: recorded, nrStates: 0, nrDistinct: 0 };
    const { walk, events } = recorded;
    let wrong: WrongState | undefined;
    for await (const state of walk.run(events)) {
      wrong = state;
      break;
    }
    return { wrong, nrStates: walk.nrStates, nrDistinct: walk.nrDistinct };
  }

  /** The walk, at a place of the recording. */
  async walkTo(operations: readonly number[], place: number): Promise<CrashWalk<State>> {
    const { walk, events } = await this.#record(operations);
    for (const event of events.slice(0, place)) walk.step(event);
    return walk;
  }

  /**
   * One crash, or the program's own failure, once more.
   * Changes that are not in doubt there any more cannot land: a flush that was missing is there now, perhaps.
   * @throws RangeError when the workload has no such operation or place: it is another one than the crash was of
   */
  async again(operations: readonly number[], place: number, choice: Choice): Promise<WrongState | undefined> {
    const missing = operations.find((index) => index >= this.#operations.length);
    if (missing !== undefined) throw this.#another(`${this.#operations.length} operations, none of them ${missing}`);
    const recorded = await this.#attempt(operations);
    if ('problem' in recorded) return recorded;
    const { walk, events } = recorded;
    if (place > events.length) throw this.#another(`${events.length} events, none of them ${place}`);
    for (const event of events.slice(0, place)) walk.step(event);
    return walk.try(place, choice);
  }

  #another(what: string): RangeError {
    return new RangeError(
      `workload ${this.seed} of ${this.subject} has ${what}: the crash was one of another version of it; explore that workload again`,
    );
  }

  /** The recording, or how the program failed. */
  async #attempt(operations: readonly number[]): Promise<Recorded<State> | WrongState> {
    try {
      return await this.#record(operations);
    } catch (cause) {
      const problem = `the program failed by itself: ${inWords(cause)}`;
      return { kind: 'program', place: 0, inDoubt: [], choice: [], problem, cause };
    }
  }

  async #record(operations: readonly number[]): Promise<Recorded<State>> {
    const { subject, disguise = {}, thoroughEvery = 16 } = this.#exploration;
    const media = Object.entries(subject.media).map(([name, { nrBlocks, size, flushTurns = 0 }]) =>
      nrBlocks === undefined
        ? ({
            name,
            kind: 'data',
            flushTurns,
            device: new MemoryDataDevice({ name, bytes: new Uint8Array(size) }),
          } as const)
        : ({ name, kind: 'metadata', flushTurns, device: new MemoryMetadataDevice({ name, nrBlocks }) } as const),
    );
    const plain = Object.fromEntries(media.map(({ name, device }) => [name, device]));
    await subject.prepare?.(plain as unknown as CrashDevices<Media>);
    const recording = new CrashRecording<State>();
    const states: CrashMediumState[] = [];
    const random = seededRandom(this.seed ^ 0xf1a5);
    const recorded = media.map(({ name, kind, flushTurns, device }, index) => {
      const base = device.bytes as Uint8Array;
      states.push(new CrashMediumState(base, kind));
      // prepare has perhaps closed its devices; the workload begins on new ones.
      if (kind === 'metadata') {
        const memory = new MemoryMetadataDevice({ name, bytes: base.slice() });
        const slow = flushTurns === 0 ? memory : new SlowMetadataDevice(memory, () => turns(flushTurns, random));
        const inner = recording.metadata(index, slow);
        return [name, disguise.metadata?.(inner, name) ?? inner] as const;
      }
      const memory = new MemoryDataDevice({ name, bytes: base.slice() });
      const delay = (operation: FaultyDataOperation): Promise<void> =>
        turns(operation === 'flush' ? flushTurns : 0, random);
      const slow = flushTurns === 0 ? memory : new FaultyDataDevice(memory, [], { delay });
      const inner = recording.data(index, slow);
      return [name, disguise.data?.(inner, name) ?? inner] as const;
    });
    await subject.run(this.shown(operations), {
      devices: Object.fromEntries(recorded) as unknown as CrashDevices<Media>,
      begins: (state) => recording.begins(state),
      promises: (state) => recording.promises(state),
    });
    const judge = {
      recover: subject.recover.bind(subject) as unknown as (
        devices: Record<string, MetadataDevice | DataDevice>,
      ) => State | Promise<State>,
      judge: subject.judge?.bind(subject) ?? isOneOf,
    };
    const options = { ...this.#exploration, random: seededRandom(this.seed ^ 0x5eed), thoroughEvery };
    // What the program still does in the background, having returned, is not part of the workload.
    return { walk: new CrashWalk(this.names, states, judge, options), events: recording.events.slice() };
  }
}

async function turns(most: number, random: () => number): Promise<void> {
  for (let nr = Math.floor(random() * (most + 1)); nr > 0; nr--) await undefined;
}

function isOneOf<State>(found: State, { promised, begun }: CrashMoment<State>): string | undefined {
  if (found === promised || begun.includes(found)) return undefined;
  const others = begun.length === 0 ? '' : `, or ${begun.length} begun after it: ${begun.map(short).join('; ')}`;
  return `found ${short(found)}; allowed is the promised ${short(promised)}${others}`;
}

/** Enough of a state for a message. */
function short(state: unknown): string {
  const text = typeof state === 'string' ? state : (JSON.stringify(state) ?? String(state));
  return text.length <= 200 ? text : `${text.slice(0, 200)}… (${text.length} characters)`;
}
