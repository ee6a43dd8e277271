/**
 * Everything that a commit of a store reaches, each block once, in an order in which the children of a node lie side by side.
 * What check, backup, compact and statistics have in common.
 */
import { CorruptBlockError } from '@pdata/device';
import type { Block } from '../block/block.js';
import { u64At } from '../block/block.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import type { Progress, WorkOptions } from '../work.js';
import {
  type BlockKind,
  btreeKind,
  overflowKind,
  pageKind,
  refCountKind,
  spaceMapIndexKind,
  type Visitor,
} from './block-kinds.js';
import type { Definition, Definitions } from './definitions.js';
import { nrStateEntries, refuseUnknownCollection, stateIdAt, stateRootOffset, stateValidator } from './state-block.js';
import { SUPERBLOCK_POINTERS, storeSuperblockValidator } from './superblock.js';

/** The table of a state, and its collections. */
export function stateKind(definitions: ReadonlyMap<number, Definition>): BlockKind {
  return {
    validator: stateValidator,
    visit(block, visitor) {
      for (let i = 0; i < nrStateEntries(block); i++) {
        const kind = definitions.get(stateIdAt(block, i))?.kind;
        if (kind === undefined) refuseUnknownCollection(block.nr, stateIdAt(block, i));
        visitor.block(stateRootOffset(i), kind.blocks);
      }
    },
  };
}

/** Of a space map in the tree of maps: its bitmaps at 16, its counts at 24. */
const MAP_ROOT_SIZE = 32;

/** The superblock, and from there everything but the metadata space map. */
export function superblockKind(definitions: Definitions): BlockKind {
  const state = stateKind(definitions.byId);
  const named = pageKind((_, at, visitor) => visitor.block(at, state));
  const history = btreeKind((_, at, visitor) => visitor.block(at, state));
  const maps = btreeKind((_, at, visitor) => {
    visitor.block(at + 16, spaceMapIndexKind);
    visitor.block(at + 24, refCountKind);
  }, MAP_ROOT_SIZE);
  return {
    validator: storeSuperblockValidator,
    visit(_, visitor) {
      visitor.block(SUPERBLOCK_POINTERS.stateNr, state);
      visitor.block(SUPERBLOCK_POINTERS.catalogueRoot, named);
      visitor.block(SUPERBLOCK_POINTERS.historyRoot, history);
      visitor.block(SUPERBLOCK_POINTERS.mapsRoot, maps);
      visitor.block(SUPERBLOCK_POINTERS.directoryNr, overflowKind);
    },
  };
}

/** What a walk does with what it finds. */
export interface WalkHandler {
  /** A reference to block `nr`, from byte `at` of `parent` (a copy, the handler's to change); true to go on into it. */
  reference(nr: number, kind: BlockKind, parent: Block, at: number): boolean;
  /** A block, with all its references reported. The handler's own copy. */
  finished?(block: Block, kind: BlockKind): void;
  unit?(map: string, unit: number): void;
  /** A block whose references cannot be told; without this, the walk throws. */
  damaged?(error: CorruptBlockError): void;
}

/** Blocks between two looks at the signal, and two turns of the event loop. */
const BLOCKS_A_SLICE = 512;

/**
 * Walks from `block`, which the caller made; yields every some hundred blocks. Bounded: `handler.reference` says true once for each
 * block, and there are only so many.
 */
export function* walkFrom(
  tm: TransactionManager,
  block: Block,
  kind: BlockKind,
  handler: WalkHandler,
  copy: (nr: number, kind: BlockKind) => Block,
): Generator<number> {
  const pending: { nr: number; kind: BlockKind }[] = [];
  let nrBlocks = 0;
  const visit = (parent: Block, of: BlockKind): void => {
    const children: typeof pending = [];
    const visitor: Visitor = {
      block(at, childKind) {
        const nr = u64At(parent.view, at);
        if (handler.reference(nr, childKind, parent, at)) children.push({ nr, kind: childKind });
      },
      unit: (map, unit) => handler.unit?.(map, unit),
    };
    try {
      of.visit(parent, visitor);
    } catch (error) {
      if (!(error instanceof CorruptBlockError) || handler.damaged === undefined) throw error;
      handler.damaged(error);
    }
    for (let i = children.length - 1; i >= 0; i--) pending.push(children[i] as { nr: number; kind: BlockKind });
    handler.finished?.(parent, of);
  };
  visit(block, kind);
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    tm.read(next.nr, next.kind.validator);
    visit(copy(next.nr, next.kind), next.kind);
    if (++nrBlocks % BLOCKS_A_SLICE === 0) yield nrBlocks;
  }
}

/** Runs `steps` to the end, with a turn of the event loop between two of them. @throws what `signal` was aborted with */
export async function inSlices(
  steps: Iterable<number>,
  stage: string,
  total: number,
  options: WorkOptions,
): Promise<void> {
  const { onProgress, signal } = options;
  const tell = (done: number): void => onProgress?.({ stage, done, total } satisfies Progress);
  signal?.throwIfAborted();
  let told = 0;
  for (const done of steps) {
    if (done - told >= total / 200) {
      tell(done);
      told = done;
    }
    await new Promise<void>((resolve) => setTimeout(resolve, 0));
    signal?.throwIfAborted();
  }
  tell(total);
}
