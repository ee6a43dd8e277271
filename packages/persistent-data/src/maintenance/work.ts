/**
 * What every long piece of maintenance (check, dump, restore…) takes besides its input: somebody to tell how far it is, and
 * a signal to stop. The work itself is synchronous and comes as generators, so that a program may run it in one go, and a
 * server or a page slice by slice, between which a signal can arrive.
 */

export interface Progress {
  /** The step, in words for people: "device details tree", "mapping tree", "data space map"… */
  readonly stage: string;
  /** Of `total`, in the stage's own units (blocks, mappings, bytes). */
  readonly done: number;
  /** 0 where the end is not known. */
  readonly total: number;
}

export interface WorkOptions {
  /** Called a few hundred times at most, never per block. */
  readonly onProgress?: (progress: Progress) => void;
  /** Looked at wherever progress is told; when aborted, the work throws its `reason`. */
  readonly signal?: AbortSignal;
}
