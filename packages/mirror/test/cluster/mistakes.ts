/** The rules of a cluster's log, each taken out on its own. */
import { ClusterState, type ClusterStateOptions, type DirtyLog } from '@pdata/mirror';
import { alteredLog } from '../altered-log.js';

export type Mistake =
  | 'writes to regions not in sync are not marked'
  | 'a clear makes clean what is not in sync'
  | 'a copied region is cleared before it is reported in sync'
  | 'what a mark found is remembered beyond it'
  | 'a failed node is not fenced';

/** The log as the region hash is to see it. */
export function alter(log: DirtyLog, mistake: Mistake | undefined, state: () => ClusterState): DirtyLog {
  switch (mistake) {
    case 'writes to regions not in sync are not marked':
      return withoutMarks(log, state);
    case 'a copied region is cleared before it is reported in sync':
      return clearingFirst(log);
    case 'what a mark found is remembered beyond it':
      return rememberingTooLong(log);
    default:
      return log;
  }
}

export function stateFor(options: ClusterStateOptions, mistake: Mistake | undefined): ClusterState {
  return mistake === 'a clear makes clean what is not in sync' ? new RashState(options) : new ClusterState(options);
}

/** The kernel's own way: a mark is for regions that are in sync. */
function withoutMarks(log: DirtyLog, state: () => ClusterState): DirtyLog {
  const unmarked = new Set<number>();
  return alteredLog(log, {
    mark(regionNr) {
      if (state().isInSync(regionNr)) log.mark(regionNr);
      else unmarked.add(regionNr);
    },
    clear(regionNr) {
      if (!unmarked.delete(regionNr)) log.clear(regionNr);
    },
    markOutcome: (regionNr) => (unmarked.has(regionNr) ? 'not in sync' : log.markOutcome(regionNr)),
  });
}

class RashState extends ClusterState {
  protected override mayBecomeClean(): boolean {
    return true;
  }
}

function clearingFirst(log: DirtyLog): DirtyLog {
  const cleared = new Set<number>();
  return alteredLog(log, {
    async setRegionSync(regionNr, inSync) {
      if (inSync) {
        cleared.add(regionNr);
        log.clear(regionNr);
        await log.flush();
      }
      await log.setRegionSync(regionNr, inSync);
    },
    clear(regionNr) {
      if (!cleared.delete(regionNr)) log.clear(regionNr);
    },
  });
}

/** A node that has once been told that a region is not in sync goes on believing it. */
function rememberingTooLong(log: DirtyLog): DirtyLog {
  const believed = new Set<number>();
  return alteredLog(log, {
    markOutcome(regionNr) {
      const outcome = log.markOutcome(regionNr);
      if (outcome === 'not in sync') believed.add(regionNr);
      return outcome === 'in sync' && believed.has(regionNr) ? 'not in sync' : outcome;
    },
  });
}
