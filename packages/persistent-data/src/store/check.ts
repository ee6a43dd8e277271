/**
 * Is a store whole? Everything that its last commit reaches is read and validated, every reference counted; then each block's count,
 * and each unit's, is compared with what the space maps say.
 *
 * Findings are collected, not thrown: a report says all that is wrong. What is below a block that cannot be read is not known,
 * and its counts are not complained about.
 */
import { CorruptBlockError } from '@pdata/device';
import { Block } from '../block/block.js';
import type { BlockManager } from '../block/block-manager.js';
import { ENTRIES_PER_BITMAP } from '../space-map/bitmap.js';
import { indexBlockValidator, indexEntryOffset } from '../space-map/index-entry.js';
import { openTransactionManagerOn } from '../space-map/open.js';
import type { WorkOptions } from '../work.js';
import { type BlockKind, bitmapKind, refCountKind } from './block-kinds.js';
import type { Definitions } from './definitions.js';
import type { SealedStore } from './store-state.js';
import { inSlices, superblockKind, type WalkHandler, walkFrom } from './store-walk.js';
import { writeStoreRoots } from './superblock.js';

export interface StoreReport {
  /** What is wrong, a sentence each; empty for a store that is whole. At most 100. */
  readonly findings: readonly string[];
  /** Blocks that some state reaches. */
  readonly nrBlocks: number;
  /** Of those, blocks with more than one reference. */
  readonly nrShared: number;
  /** Per space map, how often stored values name each unit. A unit's count may be higher: the program has references of its own. */
  readonly units: ReadonlyMap<string, ReadonlyMap<number, number>>;
}

const MAX_FINDINGS = 100;

export async function checkStore(
  blocks: BlockManager,
  definitions: Definitions,
  sealed: SealedStore,
  options: WorkOptions,
): Promise<StoreReport> {
  const findings: string[] = [];
  const report = (finding: string): void => {
    if (findings.length < MAX_FINDINGS) findings.push(finding);
  };
  const { spaceMap } = sealed;
  // A transaction manager of its own, on the state that was sealed: its counts stand still.
  const tm = openTransactionManagerOn(blocks, spaceMap);
  const counts = new Uint32Array(spaceMap.nrBlocks);
  const units = new Map<string, Map<number, number>>();
  let isComplete = true;
  const handler: WalkHandler = {
    damaged(error) {
      report(error.message);
      isComplete = false;
    },
    reference(nr, kind, parent, at) {
      if (nr <= 0 || nr >= spaceMap.nrBlocks) {
        report(`block ${parent.nr}, byte ${at}: it names block ${nr}, expected 1 to ${spaceMap.nrBlocks - 1}`);
        return false;
      }
      counts[nr] = (counts[nr] as number) + 1;
      return counts[nr] === 1 && isReadable(nr, kind);
    },
    unit(map, unit) {
      const ofMap = units.get(map) ?? new Map<number, number>();
      units.set(map, ofMap);
      ofMap.set(unit, (ofMap.get(unit) ?? 0) + 1);
    },
  };
  const isReadable = (nr: number, kind: BlockKind): boolean => {
    try {
      tm.read(nr, kind.validator);
      return true;
    } catch (error) {
      if (!(error instanceof CorruptBlockError)) throw error;
      report(error.message);
      isComplete = false;
      return false;
    }
  };
  const copy = (nr: number, kind: BlockKind): Block => new Block(tm.read(nr, kind.validator).bytes.slice(), nr);

  const superblock = new Block(new Uint8Array(4096), 0);
  writeStoreRoots(superblock, sealed.roots, spaceMap);
  counts[0] = 1;
  const walk = function* (): Generator<number> {
    yield* walkFrom(tm, superblock, superblockKind(definitions), handler, copy);
    // The metadata space map itself: index block, bitmaps, reference-count tree.
    const index = copy(spaceMap.bitmapRoot, { validator: indexBlockValidator, visit: () => {} });
    counts[index.nr] = (counts[index.nr] as number) + 1;
    const nrBitmaps = Math.ceil(spaceMap.nrBlocks / ENTRIES_PER_BITMAP);
    const visit: BlockKind = {
      validator: indexBlockValidator,
      visit(_, visitor) {
        for (let i = 0; i < nrBitmaps; i++) visitor.block(indexEntryOffset(i), bitmapKind);
      },
    };
    yield* walkFrom(tm, index, visit, handler, copy);
    if (handler.reference(spaceMap.refCountRoot, refCountKind, superblock, 88))
      yield* walkFrom(tm, copy(spaceMap.refCountRoot, refCountKind), refCountKind, handler, copy);
  };
  await inSlices(walk(), 'check', spaceMap.nrAllocated, options);

  let nrBlocks = 0;
  let nrShared = 0;
  for (let nr = 0; nr < spaceMap.nrBlocks; nr++) {
    const found = counts[nr] as number;
    if (found > 0) nrBlocks++;
    if (found > 1) nrShared++;
    const counted = tm.spaceMap.count(nr);
    if (counted === found || (counted > found && !isComplete)) continue;
    report(`block ${nr}: the space map counts ${counted} references, and there are ${found}`);
  }
  if (spaceMap.nrAllocated !== nrBlocks && isComplete)
    report(`the space map says that ${spaceMap.nrAllocated} blocks are in use, and there are ${nrBlocks}`);
  checkUnits(definitions, units, isComplete, report);
  return { findings, nrBlocks, nrShared, units };
}

/** Of units, references by values are only a part: the program may hold others. */
function checkUnits(
  definitions: Definitions,
  units: ReadonlyMap<string, ReadonlyMap<number, number>>,
  isComplete: boolean,
  report: (finding: string) => void,
): void {
  for (const [map, found] of units) {
    const definition = definitions.current.find(({ name }) => name === map);
    const space = definition === undefined ? undefined : definitions.maps.get(definition.id);
    if (space === undefined || !isComplete) continue;
    for (const [unit, nr] of found) {
      const counted = unit < space.nrBlocks ? space.count(unit) : 0;
      if (counted < nr)
        report(`unit ${unit} of ${map}: it is counted ${counted} times, and values name it ${nr} times`);
    }
  }
}
