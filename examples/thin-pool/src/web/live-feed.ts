/**
 * The open pages, and the frames that go to them as server-sent events.
 *
 * Bounded whatever the other side does: at most {@link MAX_PAGES} pages; one that reads slowly gets no more rates until it has
 * caught up, and of the frames that replace one another only the newest; one that reads nothing for {@link STALL_LIMIT} ms is
 * dropped (it connects again by itself). Events are never left out as long as they are among the last {@link NR_EVENTS_KEPT}.
 */
import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import type { PoolEvent } from '../pool-host.js';
import type { EventFrame, HelloFrame, LiveFrames } from './page-protocol.js';
import { Refusal } from './refusal.js';

export const MAX_PAGES = 16;
export const NR_EVENTS_KEPT = 200;
/** Milliseconds. */
const STALL_LIMIT = 20_000;

/** Frames that replace what was said before in the same kind; a new page gets the latest of each. */
const STATES = ['pool', 'sharing', 'trouble'] as const;
type State = (typeof STATES)[number];

interface Page {
  readonly response: ServerResponse;
  /** The last event that was sent. */
  eventId: number;
  /** States that wait until the page has read what is on its way. */
  readonly owed: Set<State>;
  stalledSince: number | undefined;
}

export class LiveFeed {
  readonly #pages = new Set<Page>();
  readonly #states = new Map<State, string>();
  readonly #events: EventFrame[] = [];
  readonly #run = randomUUID();
  #nrEvents = 0;

  get nrPages(): number {
    return this.#pages.size;
  }

  /** Takes over `response`. @throws {@link Refusal} (503) when enough pages are open */
  join(response: ServerResponse, hello: Omit<HelloFrame, 'run'>): void {
    if (this.#pages.size >= MAX_PAGES) {
      throw new Refusal(503, 'ERR_TOO_MANY_PAGES', `${MAX_PAGES} pages are open already; close one of them`, {
        'Retry-After': '5',
      });
    }
    const page: Page = { response, eventId: 0, owed: new Set(STATES), stalledSince: undefined };
    this.#pages.add(page);
    response.on('close', () => this.#pages.delete(page));
    response.on('drain', () => {
      page.stalledSince = undefined;
      this.#catchUp(page);
    });
    response.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8' });
    response.write(frame('hello', { run: this.#run, ...hello }));
    this.#catchUp(page);
  }

  event(event: PoolEvent): void {
    this.#events.push({ ...event, id: ++this.#nrEvents });
    if (this.#events.length > NR_EVENTS_KEPT) this.#events.shift();
    for (const page of this.#pages) this.#catchUp(page);
  }

  /** Says the new state to all pages, unless it is what was said last. `undefined`: there is none any more. */
  state<Kind extends State>(kind: Kind, state: LiveFrames[Kind] | undefined): void {
    if (state === undefined) {
      this.#states.delete(kind);
      return;
    }
    const text = frame(kind, state);
    if (this.#states.get(kind) === text) return;
    this.#states.set(kind, text);
    for (const page of this.#pages) {
      page.owed.add(kind);
      this.#catchUp(page);
    }
  }

  rates(rates: LiveFrames['rates']): void {
    const text = frame('rates', rates);
    for (const page of this.#pages) {
      if (!page.response.writableNeedDrain) page.response.write(text);
      else if (page.stalledSince === undefined) page.stalledSince = rates.at;
      else if (rates.at - page.stalledSince > STALL_LIMIT) page.response.destroy();
    }
  }

  close(): void {
    for (const { response } of this.#pages) response.end(frame('bye', {}));
  }

  #catchUp(page: Page): void {
    const { response, owed } = page;
    for (const kind of STATES) {
      if (response.writableNeedDrain) return;
      const text = this.#states.get(kind);
      if (owed.delete(kind) && text !== undefined) response.write(text);
    }
    for (const event of this.#events) {
      if (event.id <= page.eventId) continue;
      if (response.writableNeedDrain) return;
      response.write(frame('event', event));
      page.eventId = event.id;
    }
  }
}

/** JSON has no line breaks of its own, so each frame is two lines and an empty one. */
function frame<Kind extends keyof LiveFrames>(kind: Kind, data: LiveFrames[Kind]): string {
  return `event: ${kind}\ndata: ${JSON.stringify(data)}\n\n`;
}
