/**
 * One recording walked from its beginning to its end: at each place what a crash could leave is put on the media, recovered and
 * judged.
 *
 * Two kinds of places:
 *   behind each change    everything so far has landed: a device without a cache, at every prefix of the writes
 *   before anything gets durable, and at the end    the choices of `choicesOf`: a device with a cache
 *
 * Equal images are recovered once: what is found depends on the image alone. Whether it is right depends on the moment, and is
 * decided for each state.
 */
import type { DataDevice, MetadataDevice } from '@pdata/device';
import { type Choice, type ChoiceBounds, choicesOf, wholeOnes } from './crash-choices.js';
import type { CrashMediumState } from './crash-medium.js';
import type { Change, CrashEvent } from './crash-recording.js';
import type { CrashMoment, RecoverOptions } from './crash-subject.js';
import { inWords } from './in-words.js';

export interface WalkOptions extends ChoiceBounds {
  readonly random: () => number;
  /** One distinct image in so many is recovered thoroughly. */
  readonly thoroughEvery: number;
}

/** The subject, as far as a walk needs it. */
export interface Judge<State> {
  recover(devices: Record<string, MetadataDevice | DataDevice>, options: RecoverOptions): State | Promise<State>;
  judge(found: State, moment: CrashMoment<State>): string | undefined;
}

/** A crash state that is wrong; or the program failed by itself, before any crash. */
export interface WrongState {
  readonly kind: 'crash' | 'program';
  /** The crash comes before this event of the recording. */
  readonly place: number;
  readonly inDoubt: readonly Change[];
  readonly choice: Choice;
  readonly problem: string;
  readonly cause?: unknown;
}

type Verdict<State> = { readonly found: State } | { readonly error: unknown };

export class CrashWalk<State> {
  nrStates = 0;
  readonly #names: readonly string[];
  readonly #media: readonly CrashMediumState[];
  readonly #judge: Judge<State>;
  readonly #options: WalkOptions;
  readonly #known = new Map<number, Verdict<State>>();
  /** Changes in doubt, in the order in which they were asked for. */
  #inDoubt: Change[] = [];
  /** What was begun, in order; the first was promised. Empty before the first promise. */
  #allowed: State[] = [];
  #begun: State[] = [];
  /** States that a later one was promised after. */
  readonly #past = new Set<State>();

  constructor(names: readonly string[], media: readonly CrashMediumState[], judge: Judge<State>, options: WalkOptions) {
    this.#names = names;
    this.#media = media;
    this.#judge = judge;
    this.#options = options;
  }

  /** Images that were recovered. */
  get nrDistinct(): number {
    return this.#known.size;
  }

  /** All states of the recording; yields the wrong ones. */
  async *run(events: readonly CrashEvent<State>[]): AsyncGenerator<WrongState> {
    let isNew = true; // nothing was tried since the changes in doubt, or what is allowed, have become other
    for (let place = 0; place <= events.length; place++) {
      const event = events[place];
      if (isNew && (event === undefined || event.kind === 'durable' || event.kind === 'grow')) {
        for (const choice of choicesOf(this.#inDoubt, this.#options.random, this.#options)) {
          const wrong = await this.try(place, choice);
          if (wrong !== undefined) yield wrong;
        }
        isNew = false;
      }
      if (event === undefined) return;
      this.step(event);
      if (event.kind === 'change') {
        const wrong = await this.try(
          place + 1,
          wholeOnes(this.#inDoubt.length, () => true),
        );
        if (wrong !== undefined) yield wrong;
      }
      isNew ||= event.kind !== 'durable' || event.changes.size > 0;
    }
  }

  /** Goes past an event, trying nothing. */
  step(event: CrashEvent<State>): void {
    switch (event.kind) {
      case 'change':
        this.#inDoubt.push(event.change);
        break;
      case 'durable':
        this.#makeDurable(event.changes, event.older);
        break;
      case 'grow':
        this.#media[event.device]?.grow(event.size);
        break;
      case 'begins':
        this.#begun.push(event.state);
        if (this.#allowed.length > 0) this.#allowed.push(event.state);
        break;
      case 'promises': {
        // Promises of commits that overlap may come in another order than the states: the latest counts.
        if (this.#past.has(event.state) && !this.#begun.includes(event.state)) break;
        const from = this.#begun.lastIndexOf(event.state);
        for (const state of this.#begun.slice(0, Math.max(0, from))) this.#past.add(state);
        this.#allowed = from < 0 ? [event.state] : this.#begun.slice(from);
        this.#begun = this.#allowed.slice();
        break;
      }
    }
  }

  get inDoubt(): readonly Change[] {
    return this.#inDoubt;
  }

  /** One crash state; what is wrong with it. Of another recording than the choice was made for, what is not there cannot land. */
  async try(place: number, chosen: Choice): Promise<WrongState | undefined> {
    const choice = chosen.filter(({ index }) => index < this.#inDoubt.length);
    const [promised, ...begun] = this.#allowed;
    if (promised === undefined) return undefined;
    this.nrStates++;
    const verdict = await this.#verdict(choice);
    const wrong = { kind: 'crash' as const, place, inDoubt: this.#inDoubt.slice(), choice };
    if ('error' in verdict) return { ...wrong, problem: inWords(verdict.error), cause: verdict.error };
    const problem = this.#judge.judge(verdict.found, { promised, begun });
    return problem === undefined ? undefined : { ...wrong, problem };
  }

  async #verdict(choice: Choice): Promise<Verdict<State>> {
    for (const { index, landing } of choice) {
      const change = this.#inDoubt[index] as Change;
      this.#media[change.device]?.landHash(change, landing);
    }
    let [a, b] = [0, 0];
    for (const medium of this.#media) {
      a = Math.imul(a, 0x01000193) ^ medium.hashA;
      b = Math.imul(b, 0x5bd1e995) ^ medium.hashB;
    }
    const key = (a & 0x1fffff) * 2 ** 32 + (b >>> 0);
    let verdict = this.#known.get(key);
    if (verdict === undefined) {
      // By the image itself, so that a replay does the same.
      verdict = await this.#recover(choice, key % this.#options.thoroughEvery === 0);
      this.#known.set(key, verdict);
    }
    for (const medium of this.#media) medium.takeBack();
    return verdict;
  }

  async #recover(choice: Choice, thorough: boolean): Promise<Verdict<State>> {
    for (const { index, landing } of choice) {
      const change = this.#inDoubt[index] as Change;
      this.#media[change.device]?.land(change, landing);
    }
    const devices: Record<string, MetadataDevice | DataDevice> = {};
    this.#names.forEach((name, index) => {
      devices[name] = (this.#media[index] as CrashMediumState).device(name);
    });
    try {
      return { found: await this.#judge.recover(devices, { thorough }) };
    } catch (error) {
      return { error };
    }
  }

  #makeDurable(changes: ReadonlySet<number>, older: ReadonlySet<number>): void {
    const left: Change[] = [];
    const durable: Change[] = [];
    for (const change of this.#inDoubt) {
      if (!changes.has(change.nr)) left.push(change);
      else {
        this.#media[change.device]?.makeDurable(change);
        durable.push(change);
      }
    }
    this.#inDoubt = left.map((change) => (older.has(change.nr) ? withoutSectorsOf(change, durable) : change));
  }
}

/** The parts of `change` that what went past the cache does not cover: the cache does not put the others over it. */
function withoutSectorsOf(change: Change, durable: readonly Change[]): Change {
  const gone = new Uint8Array(change.nrSectors);
  if (change.gone !== undefined) gone.set(change.gone);
  for (const { device, firstSector, nrSectors } of durable) {
    if (device !== change.device) continue;
    const from = Math.max(0, firstSector - change.firstSector);
    const to = Math.min(change.nrSectors, firstSector + nrSectors - change.firstSector);
    if (from < to) gone.fill(1, from, to);
  }
  return { ...change, gone };
}
