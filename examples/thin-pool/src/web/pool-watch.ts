/**
 * Watches a pool for the open pages: asks it about once a second, and at once after an action or an event, and tells the feed what
 * changed. With no page open it does not ask at all, apart from a minute in which a page may come back to find its curves whole.
 *
 * Asking never takes over: the next question waits at least {@link EASE} times as long as the last answer took. The map of sharing
 * has to visit every mapping; so it waits {@link EASE_OF_SHARING} times as long, and is asked for only after something was written,
 * discarded or changed. Both kinds of question are asked one at a time.
 */
import type { PoolReport, SharingMap, VolumeReport } from '../pool-host.js';
import { IoRates } from './io-rates.js';
import type { LiveFeed } from './live-feed.js';
import type { PageHost } from './page-host.js';
import type { VolumeMap } from './page-protocol.js';

const PERIOD = 1000; // ms
const SOON = 50; // ms
const SHARING_PERIOD = 2000; // ms
const EASE = 4;
/** At most a twentieth of the time goes into maps. */
const EASE_OF_SHARING = 19;
/** How long it goes on asking after the last page has gone, ms. */
const AFTERGLOW = 60_000;
/** Cells of a map: what a page has room for… */
const MAX_CELLS = 512;
/** …but all maps together, which are kept until the next ones, take a few megabytes at most. */
const MAX_CELLS_OF_ALL = 500_000;

export class PoolWatch {
  readonly rates = new IoRates();
  readonly #host: PageHost;
  readonly #feed: LiveFeed;
  readonly #log: (message: string) => void;
  readonly #stopEvents: () => void;

  #timer: NodeJS.Timeout | undefined;
  #isAsking = false;
  #askAgain = false;
  #sampledAt = 0;
  #toldTrouble = '';
  #lastPageAt = 0;
  #isClosed = false;

  #sharing: { readonly version: number; readonly map: SharingMap } | undefined;
  #sharingVersion = 0;
  #sharingIsAsked = false;
  #sharingDueAt = 0;
  /** What the mappings follow from, roughly; other text: ask for the map again. */
  #sharingOf = '';

  constructor(host: PageHost, feed: LiveFeed, log: (message: string) => void) {
    this.#host = host;
    this.#feed = feed;
    this.#log = log;
    this.#stopEvents = host.onEvent((event) => {
      feed.event(event);
      if (feed.nrPages > 0) this.soon();
    });
  }

  /** A page has come. */
  start(): void {
    this.#lastPageAt = Date.now();
    this.soon();
  }

  /** Asks within {@link SOON}, or right after the question under way. */
  soon(): void {
    if (this.#isAsking) this.#askAgain = true;
    else this.#schedule(SOON);
  }

  /** The cells of one volume, of the last map there was. */
  mapOf(name: string): VolumeMap {
    const row = this.#sharing?.map.volumes.find((volume) => volume.name === name);
    const version = this.#sharing?.version ?? 0;
    if (row === undefined) return { version, name };
    return { version, name, row: { blocksPerCell: row.blocksPerCell, mapped: row.mapped, shared: row.shared } };
  }

  close(): void {
    this.#isClosed = true;
    this.#stopEvents();
    clearTimeout(this.#timer);
  }

  #schedule(delay: number): void {
    clearTimeout(this.#timer);
    if (this.#isClosed) return;
    // Unreferenced: a page that is open keeps no program from ending.
    this.#timer = setTimeout(() => void this.#turn(), delay).unref();
  }

  async #turn(): Promise<void> {
    this.#isAsking = true;
    this.#askAgain = false;
    const began = performance.now();
    await this.#ask();
    this.#isAsking = false;

    const now = Date.now();
    if (this.#feed.nrPages > 0) this.#lastPageAt = now;
    const goesOn = now - this.#lastPageAt <= AFTERGLOW;
    if (!goesOn) this.rates.pause();
    else this.#schedule(Math.max(this.#askAgain ? SOON : PERIOD, EASE * (performance.now() - began)));
  }

  async #ask(): Promise<void> {
    try {
      const [pool, volumes] = await Promise.all([this.#host.status(), this.#host.volumes()]);
      if (this.#isClosed) return;
      this.#trouble('');
      this.#feed.state('pool', { pool, volumes: volumes.map(({ io: _, ...volume }) => volume) });
      this.#sampleRates(volumes);
      this.#considerSharing(pool, volumes);
    } catch (error) {
      if (!this.#isClosed) this.#trouble(messageOf(error));
    }
  }

  /** @param message empty: none */
  #trouble(message: string): void {
    if (message === this.#toldTrouble) return;
    this.#toldTrouble = message;
    this.#feed.state('trouble', message === '' ? undefined : { message });
    if (message !== '') this.#log(`the page cannot ask the pool: ${message}`);
  }

  #sampleRates(volumes: readonly VolumeReport[]): void {
    const now = Date.now();
    // Over a short time one large request would look like a storm.
    if (now - this.#sampledAt < PERIOD / 2) return;
    this.#sampledAt = now;
    this.#feed.rates(this.rates.sample(now, volumes));
  }

  #considerSharing(pool: PoolReport, volumes: readonly VolumeReport[]): void {
    const of = JSON.stringify([
      pool.data,
      volumes.map(({ name, identity, mapped, size, io }) => [name, identity, mapped, size, io.writes, io.discards]),
    ]);
    if (of === this.#sharingOf || this.#sharingIsAsked || Date.now() < this.#sharingDueAt) return;
    if (this.#feed.nrPages === 0) return;
    this.#sharingIsAsked = true;
    this.#sharingOf = of;
    const nrCells = Math.floor(MAX_CELLS_OF_ALL / (volumes.length + 1));
    void this.#askSharing(Math.max(1, Math.min(MAX_CELLS, nrCells)));
  }

  async #askSharing(cells: number): Promise<void> {
    const began = performance.now();
    try {
      const map = await this.#host.sharing({ cells });
      if (this.#isClosed) return;
      const version = ++this.#sharingVersion;
      this.#sharing = { version, map };
      const exclusive = map.volumes.map((volume) => [volume.name, volume.exclusive] as const);
      this.#feed.state('sharing', { version, pool: map.pool, exclusive });
    } catch (error) {
      this.#sharingOf = '';
      this.#log(`the page cannot ask for the map: ${messageOf(error)}`);
    }
    this.#sharingIsAsked = false;
    this.#sharingDueAt = Date.now() + Math.max(SHARING_PERIOD, EASE_OF_SHARING * (performance.now() - began));
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
