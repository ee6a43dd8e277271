/**
 * What can be done to a pool, whoever has it open.
 *
 * One process at a time has a pool open. `thin-pool serve` keeps it open for days; other commands on the same pool then talk to it
 * over a socket in the pool's directory. Both look the same to a command: a `PoolHost`, which is local (this process has the
 * pool) or remote. The live page uses it too.
 *
 * Therefore: everything is asynchronous, requests and answers are plain records (numbers, strings, arrays, no classes), volumes
 * are called by their names, and what goes wrong is a `StoreError` with a sentence for people, the same on both sides.
 *
 * A *volume* can be written; a *snapshot* never changes (so it is what streams are made from, and their base). Both have a name
 * in one name space. A writable copy of a snapshot is a volume: `snapshot({ writable: true })`.
 */
import type { DataDevice } from '@pdata/device';

export interface PoolHost {
  /** The pool's directory, absolute. */
  readonly directory: string;
  status(): Promise<PoolReport>;
  /** Volumes and snapshots, in order of names. Those being received are not among them. */
  volumes(): Promise<VolumeReport[]>;
  /** The volume or snapshot with this name. */
  volume(request: { readonly name: string }): Promise<VolumeReport>;
  createVolume(request: { readonly name: string; readonly size: number }): Promise<VolumeReport>;
  /** A snapshot of `origin` (a volume or a snapshot, in use or not) as it is now; `writable`: a volume with that content. */
  snapshot(request: {
    readonly origin: string;
    readonly name: string;
    readonly writable?: boolean;
  }): Promise<VolumeReport>;
  renameVolume(request: { readonly name: string; readonly to: string }): Promise<VolumeReport>;
  /** Shrinking loses what lies behind the new end, and so must be asked for with `shrink`. */
  resizeVolume(request: {
    readonly name: string;
    readonly size: number;
    readonly shrink?: boolean;
  }): Promise<VolumeReport>;
  /** Removes a volume or a snapshot. Refused while somebody uses it. */
  removeVolume(request: { readonly name: string }): Promise<void>;
  /** Gives volume `name` the content (and size) of `snapshot`, at once. What it held is gone. Refused while somebody uses it. */
  revertVolume(request: { readonly name: string; readonly snapshot: string }): Promise<VolumeReport>;
  /**
   * Where the content of `name` may differ from that of `base`, in order, in whole data blocks (the last ends with the larger of the
   * two). At most `MAX_RANGES` ranges from byte `from` on; `next` says where to go on, when there are more.
   */
  diff(request: { readonly name: string; readonly base: string; readonly from?: number }): Promise<DiffPage>;
  /** Where the volumes' blocks lie and who shares them, condensed into at most `cells` cells (default 512) each. */
  sharing(request?: { readonly cells?: number }): Promise<SharingMap>;
  /** Checks metadata, catalogue and data file against each other. Changes nothing. */
  check(): Promise<CheckReport>;
  /** Enlarges the pool's data. */
  growPool(request: { readonly size: number }): Promise<PoolReport>;
  /** A volume's content. Close it; until then the volume is in use. Snapshots can be opened for reading only. */
  openVolume(request: { readonly name: string; readonly mode: 'read' | 'write' }): Promise<DataDevice>;
  readonly receiving: Receiving;
  /** Calls `listener` with each event from now on. Returns a function that ends it. */
  onEvent(listener: (event: PoolEvent) => void): () => void;
  /** Lets go of the pool: a local host commits and closes it, a remote one hangs up. */
  close(): Promise<void>;
}

/** Ranges in one page of a diff. */
export const MAX_RANGES = 4096;

/** Volumes that are being received: hidden until they are complete, kept (also across a crash) to be resumed. */
export interface Receiving {
  /** Streams that can be resumed. */
  list(): Promise<ReceivingReport[]>;
  /** A hidden volume for this stream: empty, or with the content of the snapshot whose identity is `base`. */
  begin(request: ReceivingRequest): Promise<ReceivingReport>;
  /** The hidden volume of the stream with this identity, for writing. */
  open(request: { readonly identity: string }): Promise<DataDevice>;
  /** Notes, durably, how far the stream has been applied. Flush the volume before. */
  progress(request: { readonly identity: string } & StreamProgress): Promise<void>;
  /** Complete: the hidden volume becomes visible under its name, in one commit. */
  finish(request: { readonly identity: string }): Promise<VolumeReport>;
  /** Removes the hidden volume. */
  abandon(request: { readonly identity: string }): Promise<void>;
}

export interface ReceivingRequest {
  /** Name that it shall have. */
  readonly name: string;
  /**
   * What it becomes: a snapshot, from a stream, which can be resumed; or a volume, from an image, which cannot: what is left of an
   * import that was cut short is removed. Default: a snapshot.
   */
  readonly becomes?: 'snapshot' | 'volume';
  /** Identity of the snapshot that is sent, or a new one. */
  readonly identity: string;
  /** Bytes. */
  readonly size: number;
  /** When the snapshot was taken, milliseconds since 1970. */
  readonly created: number;
  /** The snapshot that it is told against; without it the stream is a full one. Its name is for messages, its identity decides. */
  readonly base?: { readonly identity: string; readonly name: string };
}

/** How far a stream has been applied: where it is resumed. */
export interface StreamProgress {
  /** Bytes of the stream's frames, */
  readonly offset: number;
  /** their crc32, */
  readonly checksum: number;
  /** and the byte of the volume behind the last of them. */
  readonly position: number;
}

export interface ReceivingReport extends ReceivingRequest, StreamProgress {}

export interface VolumeReport {
  readonly name: string;
  readonly kind: 'volume' | 'snapshot';
  /** Bytes. */
  readonly size: number;
  /** Bytes that it has in the pool, those that it shares included. */
  readonly mapped: number;
  /** What it was made from; missing when it was made empty, or when that is gone. */
  readonly origin?: string;
  /** When it was made, milliseconds since 1970; 0 when nobody noted it. */
  readonly created: number;
  /** 32 hexadecimal digits, random. A snapshot keeps it when it is sent elsewhere: same identity, same content. */
  readonly identity: string;
  /** Its number in the metadata. */
  readonly thinId: number;
  /** How many have it open: NBD exports (however many clients share one), commands. */
  readonly users: number;
  /** Since the pool was opened. */
  readonly io: IoCounters;
}

export interface IoCounters {
  readonly reads: number;
  readonly writes: number;
  readonly discards: number;
  readonly flushes: number;
  /** Bytes. */
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

export interface PoolReport {
  readonly directory: string;
  /** Where the metadata lives. */
  readonly format: 'lmdb' | 'raw';
  /** The engine's mode: `write`, `out_of_data_space`, `out_of_metadata_space`, `read_only`, `fail`. */
  readonly mode: string;
  /** Bytes of a data block, the unit in which space is given out and shared. */
  readonly blockSize: number;
  /** All in bytes. */
  readonly data: {
    readonly size: number;
    readonly used: number;
    /** When no more than this is free, the pool warns (`space` event). */
    readonly lowWater?: number;
  };
  readonly metadata: {
    readonly size: number;
    readonly used: number;
    /** Kept back for removals and commits: when no more than this is free, nothing new is provisioned. */
    readonly reserve?: number;
  };
  readonly nrVolumes: number;
  readonly nrSnapshots: number;
  /** Sum of the sizes of all volumes and snapshots, bytes: what has been promised. */
  readonly promised: number;
  /** Sum of what each of them has in the pool, bytes; above `data.used` by what is shared. */
  readonly mapped: number;
  readonly needsCheck: boolean;
  /** Commits since the pool was opened. */
  readonly nrCommits?: number;
  /** The kernel's status line for this pool. */
  readonly statusLine: string;
  /** Present while somebody serves the pool. */
  readonly serving?: ServingReport;
}

export interface ServingReport {
  readonly processId: number;
  /** Milliseconds since 1970. */
  readonly since: number;
  /** NBD URI without a name: put the volume's name between `///` (or after the last `/`) and the query. */
  readonly nbd?: string;
  readonly clients: number;
}

export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

export interface DiffPage {
  /** Of the two that were compared, since names may change between two pages. */
  readonly identity: string;
  readonly baseIdentity: string;
  readonly ranges: ByteRange[];
  readonly next?: number;
}

/**
 * Each cell stands for `blocksPerCell` data blocks next to each other and holds two shares of 0…255: how much of it is mapped (for
 * the pool: used), and how much of it is shared between volumes.
 */
export interface SharingMap {
  /** The data file, from its begin to its end. */
  readonly pool: CellRow;
  /** Each volume's own range, from its begin to its end, in order of names. */
  readonly volumes: (CellRow & { readonly name: string /** Bytes nobody else has. */; readonly exclusive: number })[];
}

export interface CellRow {
  readonly blocksPerCell: number;
  readonly mapped: number[];
  readonly shared: number[];
}

export interface CheckReport {
  readonly clean: boolean;
  /** One sentence each, worst first. */
  readonly findings: CheckFinding[];
  /** What is worth knowing and decides nothing. */
  readonly notes: string[];
  readonly nrVolumes: number;
  readonly nrMappings: number;
  /** Blocks that nobody refers to. */
  readonly leaked: { readonly data: number; readonly metadata: number };
}

export interface CheckFinding {
  readonly where: 'metadata' | 'catalogue' | 'data';
  /** `harmless`: costs space or a name; `fatal`: content is, or may be, lost. */
  readonly severity: 'harmless' | 'fatal';
  readonly message: string;
}

export interface PoolEvent {
  /** Milliseconds since 1970. */
  readonly at: number;
  /** `volume` created, snapshot, renamed, resized, removed, reverted, received; `space` low; `mode` changed; `client` came, went; `error`. */
  readonly kind: 'volume' | 'space' | 'mode' | 'client' | 'error';
  /** One sentence for people. */
  readonly message: string;
  /** The volume it is about, when it is about one. */
  readonly volume?: string;
}
