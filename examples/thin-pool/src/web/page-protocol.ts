/**
 * What the page and its server say to each other: types only, read by both sides (page/*.js through JSDoc).
 *
 *   GET  /api/live                  frames, as server-sent events: `event: KIND`, `data: JSON` (LiveFrames)
 *   GET  /api/map?volume=NAME       VolumeMap: the volume's cells, as of the last `sharing` frame
 *   POST /api/do/ACTION        an Actions member → ActionAnswer; what changed also arrives as frames
 *
 * Every answer that is not 2xx is a FailedAnswer. Names stand in pairs, never as keys of an object: a volume may be called
 * `__proto__`.
 */
import type { CellRow, PoolEvent, PoolReport, VolumeReport } from '../pool-host.js';

export interface LiveFrames {
  /** First on every connection, and complete: nothing of an earlier connection is needed. */
  hello: HelloFrame;
  /** When something about the pool or its volumes changed, I/O counters aside. */
  pool: PoolFrame;
  /** Each poll, about once a second; also the sign of life. */
  rates: RatesFrame;
  /** As they come. Those that happened just before the connection come first. */
  event: EventFrame;
  /** After blocks were mapped, unmapped or shared; not more often than it can be computed at ease. */
  sharing: SharingFrame;
  /** The pool cannot be asked just now; what the page shows is old. */
  trouble: { readonly message: string };
  /** The server ends. */
  bye: Record<string, never>;
}

export interface HelloFrame {
  /** Another text in each run of the program. */
  readonly run: string;
  readonly history: readonly RatesFrame[];
}

export type PoolVolume = Omit<VolumeReport, 'io'>;

export interface PoolFrame {
  readonly pool: PoolReport;
  readonly volumes: readonly PoolVolume[];
}

/** Requests and bytes a second. */
export interface Rates {
  readonly reads: number;
  readonly writes: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

export interface RatesFrame {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly total: Rates;
  /** Only volumes with I/O since the last frame. */
  readonly volumes: readonly (readonly [name: string, rates: Rates])[];
}

export type EventFrame = PoolEvent & {
  /** Ascending. A page that connects again knows by it what it has shown already. */
  readonly id: number;
};

export interface SharingFrame {
  /** Another number: other maps. */
  readonly version: number;
  readonly pool: CellRow;
  /** Bytes that nobody else has. */
  readonly exclusive: readonly (readonly [name: string, bytes: number])[];
}

export interface VolumeMap {
  readonly version: number;
  readonly name: string;
  /** Missing for a volume that is newer than the map. */
  readonly row?: CellRow;
}

export interface Actions {
  create: { readonly name: string /** Bytes. */; readonly size: number };
  snapshot: { readonly origin: string; readonly name: string; readonly writable: boolean };
  rename: { readonly name: string; readonly to: string };
  resize: { readonly name: string; readonly size: number; readonly shrink: boolean };
  revert: { readonly name: string; readonly snapshot: string };
  remove: { readonly name: string };
  /** The pool's data file, to this size. */
  grow: { readonly size: number };
}

export interface ActionAnswer {
  readonly done: true;
}

export interface FailedAnswer {
  readonly error: { readonly code: string; readonly message: string };
}
