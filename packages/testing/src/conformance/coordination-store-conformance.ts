/**
 * What every `CoordinationStore` of @pdata/mirror must guarantee, as cases that any test runner can run; each is named after a
 * guarantee of its header, which are those of docs/format/mirror-log.md, section 13.
 *
 * Nothing but the interface is used, and two things that it cannot offer: how the store is told of a failed node, and what is left
 * of it when all nodes are lost at once, for that is where clean regions show. The last case compares random requests with
 * `ClusterState`, answer by answer.
 *
 * What it cannot show: that anything is durable, nor that a node was fenced.
 */
import { ClusterState, type CoordinationSession, type CoordinationStore, SessionLostError } from '@pdata/mirror';
import { seededRandom } from '../seeded-random.js';
import { demand, demandRejection } from './demand.js';
import type { ConformanceCase } from './device-case.js';

export interface CoordinationStoreConformanceOptions {
  /** A new store in which no region is in sync. */
  readonly create: (nrRegions: number) => Promise<CoordinationStore>;
  /** Tells the store that a node has failed; resolves when others are told so. */
  readonly fail: (store: CoordinationStore, nodeId: string) => Promise<void>;
  /** What is found after the loss of all nodes at once: the regions that were clean are in sync, no others. */
  readonly restart: (store: CoordinationStore) => Promise<CoordinationStore>;
  /** Random sequences of requests to try. Default 30. */
  readonly nrRandomWorkloads?: number;
}

const NR_REGIONS = 10;

/** What a case works with. */
interface Cluster {
  readonly store: CoordinationStore;
  join(nodeId: string): Promise<CoordinationSession>;
  fail(nodeId: string): Promise<void>;
  /** Regions that would be in sync after the loss of all nodes. */
  cleanRegions(): Promise<number[]>;
}

/**
 * The cases for one implementation:
 *
 * ```ts no-run
 * for (const { name, run } of coordinationStoreConformance({ create, fail, restart })) it(name, run);
 * ```
 */
export function coordinationStoreConformance(options: CoordinationStoreConformanceOptions): ConformanceCase[] {
  const nrWorkloads = options.nrRandomWorkloads ?? 30;
  const cases = Object.entries({
    ...CASES,
    [`answers as the state machine does, whatever is asked (${nrWorkloads} sequences)`]: () =>
      randomWorkloads(options, nrWorkloads),
  });
  return cases.map(([name, test]) => ({ name, run: async () => test(await clusterOf(options)) }));
}

async function clusterOf(options: CoordinationStoreConformanceOptions): Promise<Cluster> {
  const store = await options.create(NR_REGIONS);
  demand(store.nrRegions === NR_REGIONS, `a store for ${NR_REGIONS} regions says that it has ${store.nrRegions}`);
  return {
    store,
    join: async (nodeId) => {
      const session = await store.join(nodeId);
      await session.startCopying();
      return session;
    },
    fail: (nodeId) => options.fail(store, nodeId),
    cleanRegions: async () => {
      const restarted = await (await options.restart(store)).join('restarted');
      const regions = Array.from({ length: NR_REGIONS }, (_, nr) => nr);
      const inSync = await Promise.all(regions.map((nr) => restarted.isInSync(nr)));
      await restarted.leave();
      return regions.filter((nr) => inSync[nr]);
    },
  };
}

const CASES: Record<string, (cluster: Cluster) => Promise<void>> = {
  'guarantee 1: requests of several nodes at once take effect one after the other': async ({ join }) => {
    const [a, b] = await bothOf(join);
    for (let nr = 0; nr < NR_REGIONS; nr++) {
      const [work, outcome] = await Promise.all([a.nextResyncWork(), mark(b, nr)]);
      const isHandedOut = work === nr;
      demand(
        isHandedOut === (outcome === 'refused'),
        `region ${nr} was handed out to one node, and ${outcome} for the other`,
      );
      if (work !== undefined) await a.setRegionSync(work, true);
      if (!isHandedOut) await b.update([{ op: 'clear', regionNr: nr }]);
    }
  },
  'guarantee 1: the changes of one request take effect in order, and have one outcome a mark': async ({ join }) => {
    const [a, b] = await bothOf(join);
    await copy(a, 1);
    const outcomes = await a.update([
      { op: 'mark', regionNr: 0, onlyInSync: false },
      { op: 'clear', regionNr: 0 },
      { op: 'mark', regionNr: 5, onlyInSync: false },
      { op: 'mark', regionNr: 5, onlyInSync: false },
    ]);
    demandSame('outcomes', outcomes, ['in sync', 'not in sync', 'not in sync']);
    await a.stopCopying();
    demandSame('work of the other node', await workOf(b, 8), [1, 2, 3, 4, 6, 7, 8, 9]);
  },
  'guarantee 2: a mark that has been answered is known to all nodes': async ({ join, cleanRegions }) => {
    const [a, b] = await bothOf(join);
    await copy(a, 3);
    await a.update([0, 1, 2].map((regionNr) => ({ op: 'clear', regionNr })));
    demandSame('clean regions', await cleanRegions(), [0, 1, 2]);
    demandSame('outcome', await mark(b, 1), 'in sync');
    demandSame('clean regions', await cleanRegions(), [0, 2]);
    demandSame('outcome', await mark(b, 3), 'not in sync');
    demandSame('work of the other node', await a.nextResyncWork(), 4);
  },
  "guarantee 3: a clear takes away this node's mark, and the region becomes clean when there is no other": async ({
    join,
    cleanRegions,
  }) => {
    const [a, b] = await bothOf(join);
    await copy(a, 1);
    await mark(a, 0);
    await mark(b, 0);
    await a.update([{ op: 'clear', regionNr: 0 }]);
    demandSame('clean regions while the other node has its mark', await cleanRegions(), []);
    await b.update([{ op: 'clear', regionNr: 0 }]);
    demandSame('clean regions', await cleanRegions(), [0]);
  },
  'guarantee 3: a clear does not make clean what is not in sync': async ({ join, cleanRegions }) => {
    const [a] = await bothOf(join);
    await mark(a, 0);
    await a.update([{ op: 'clear', regionNr: 0 }]);
    demandSame('clean regions', await cleanRegions(), []);
    await copy(a, 1);
    await mark(a, 0);
    await a.setRegionSync(0, false);
    await a.update([{ op: 'clear', regionNr: 0 }]);
    demandSame('clean regions', await cleanRegions(), []);
  },
  'guarantee 3: nothing becomes clean after a leg has lost a flush, until legs are trusted again': async ({
    join,
    cleanRegions,
  }) => {
    const [a, b] = await bothOf(join);
    await copy(a, 2);
    await a.update([{ op: 'clear', regionNr: 0 }]);
    await b.legFlushFailed();
    await a.update([{ op: 'clear', regionNr: 1 }]);
    demandSame('clean regions', await cleanRegions(), [0]);
    await b.trustLegFlushes();
    await a.update([{ op: 'clear', regionNr: 1 }]);
    demandSame('clean regions', await cleanRegions(), [0, 1]);
  },
  'guarantee 4: a region is handed out to one node at a time, and the same again to that node': async ({ join }) => {
    const [a, b] = await bothOf(join);
    demandSame('work', [await a.nextResyncWork(), await b.nextResyncWork()], [0, 1]);
    demandSame('work asked for again', [await a.nextResyncWork(), await b.nextResyncWork()], [0, 1]);
    await b.setRegionSync(1, true);
    demandSame('work', [await a.nextResyncWork(), await b.nextResyncWork()], [0, 2]);
  },
  'guarantee 4: a region on which another node has a mark is not handed out before that is cleared': async ({
    join,
  }) => {
    const [a, b] = await bothOf(join);
    await mark(b, 0);
    demandSame('work', await a.nextResyncWork(), 1);
    await a.setRegionSync(1, true);
    await b.update([{ op: 'clear', regionNr: 0 }]);
    demandSame('work', await a.nextResyncWork(), 0);
  },
  'guarantee 4: a region that could not be copied is handed out again only when the search begins again': async ({
    join,
  }) => {
    const [a, b] = await bothOf(join);
    demandSame('work', await a.nextResyncWork(), 0);
    await a.setRegionSync(0, false);
    demandSame(
      'work',
      await workOf(a, NR_REGIONS - 1),
      Array.from({ length: NR_REGIONS - 1 }, (_, nr) => nr + 1),
    );
    demandSame('work', [await a.nextResyncWork(), await b.nextResyncWork()], [undefined, undefined]);
    await b.searchAgain();
    demandSame('work', await a.nextResyncWork(), 0);
  },
  'guarantee 5: while a node copies a region, the others are told so, and their marks are refused': async ({
    join,
  }) => {
    const [a, b] = await bothOf(join);
    demandSame('work', await a.nextResyncWork(), 0);
    demandSame('recovering, to the others', [await b.isRecovering(0), await b.isRecovering(1)], [true, false]);
    demandSame('recovering, to the node that copies', await a.isRecovering(0), false);
    demandSame(
      'outcomes',
      [await mark(b, 0), await mark(a, 0), await mark(b, 1)],
      ['refused', 'not in sync', 'not in sync'],
    );
    await a.update([{ op: 'clear', regionNr: 0 }]);
    await a.setRegionSync(0, true);
    demandSame('recovering', await b.isRecovering(0), false);
    demandSame('outcome', await mark(b, 0), 'in sync');
  },
  'guarantee 5: a writer that waits for a region has it copied first': async ({ join }) => {
    const [a, b] = await bothOf(join);
    demandSame('outcome', await b.update([{ op: 'mark', regionNr: 7, onlyInSync: true }]), ['refused']);
    demandSame('work', await a.nextResyncWork(), 7);
    demandSame('outcome', await b.update([{ op: 'mark', regionNr: 7, onlyInSync: true }]), ['refused']);
    await a.setRegionSync(7, true);
    demandSame('outcome', await b.update([{ op: 'mark', regionNr: 7, onlyInSync: true }]), ['in sync']);
    demandSame('work', await a.nextResyncWork(), 0);
  },
  'guarantee 6: whoever is told that a region is free is told how its copying ended': async ({ join }) => {
    const [a, b] = await bothOf(join);
    for (const inSync of [true, false]) {
      const regionNr = await a.nextResyncWork();
      demand(regionNr !== undefined, 'there is work');
      const ending = a.setRegionSync(regionNr, inSync);
      let isFree = false;
      for (let nr = 0; nr < 1000 && !isFree; nr++) isFree = !(await b.isRecovering(regionNr));
      demand(isFree, 'the region never becomes free');
      demandSame('in sync', await b.isInSync(regionNr), inSync);
      await ending;
    }
  },
  'guarantee 7: when all regions are in sync, every node is told so': async ({ join }) => {
    const [a, b] = await bothOf(join);
    await copy(a, NR_REGIONS);
    for (let nr = 0; nr < NR_REGIONS; nr++) demandSame(`region ${nr} in sync`, await b.isInSync(nr), true);
    demandSame('regions in sync, to both', [a.syncCount, b.syncCount], [NR_REGIONS, NR_REGIONS]);
    demandSame('work', await b.nextResyncWork(), undefined);
  },
  'guarantee 7: a node that fails leaves its marks not in sync, and its copying undone': async ({
    join,
    fail,
    cleanRegions,
  }) => {
    const [a, b] = await bothOf(join);
    await copy(a, 4);
    await a.update([0, 1, 2, 3].map((regionNr) => ({ op: 'clear', regionNr })));
    await mark(a, 1);
    await mark(b, 2);
    demandSame('work', await a.nextResyncWork(), 4);
    await fail('a');
    demandSame('in sync', [await b.isInSync(0), await b.isInSync(1), await b.isInSync(2)], [true, false, true]);
    demandSame('clean regions', await cleanRegions(), [0, 3]);
    demandSame('work', await workOf(b, 2), [1, 4]);
  },
  'guarantee 8: nothing is handed out before copying is started, nor after it is stopped': async ({ store }) => {
    const session = await store.join('a');
    demandSame('work before', await session.nextResyncWork(), undefined);
    await session.startCopying();
    demandSame('work', await session.nextResyncWork(), 0);
    await session.setRegionSync(0, true);
    await session.stopCopying();
    demandSame('work after', await session.nextResyncWork(), undefined);
    await session.startCopying();
    demandSame('work', await session.nextResyncWork(), 1);
  },
  'a session ends when its node fails, joins again or leaves: what it asks is refused from then on': async ({
    join,
    fail,
  }) => {
    const failed = await join('a');
    await fail('a');
    await demandLost(failed);
    const replaced = await join('a');
    await mark(replaced, 0);
    const next = await join('a');
    await demandLost(replaced);
    demandSame('work', await next.nextResyncWork(), 0);
    await next.leave();
    await demandLost(next);
  },
};

async function bothOf(join: Cluster['join']): Promise<[CoordinationSession, CoordinationSession]> {
  return [await join('a'), await join('b')];
}

async function mark(session: CoordinationSession, regionNr: number): Promise<string> {
  const [outcome] = await session.update([{ op: 'mark', regionNr, onlyInSync: false }]);
  demand(outcome !== undefined, 'a mark has no outcome');
  return outcome;
}

/** The regions that a node is handed, each reported in sync. */
async function workOf(session: CoordinationSession, nrRegions: number): Promise<(number | undefined)[]> {
  const regions: (number | undefined)[] = [];
  for (let nr = 0; nr < nrRegions; nr++) {
    const regionNr = await session.nextResyncWork();
    regions.push(regionNr);
    if (regionNr !== undefined) await session.setRegionSync(regionNr, true);
  }
  return regions;
}

async function copy(session: CoordinationSession, nrRegions: number): Promise<void> {
  demandSame(
    'work',
    await workOf(session, nrRegions),
    Array.from({ length: nrRegions }, (_, nr) => nr),
  );
}

async function demandLost(session: CoordinationSession): Promise<void> {
  await demandRejection('a request of a session that has ended', SessionLostError, () => session.nextResyncWork());
}

function demandSame(what: string, found: unknown, expected: unknown): void {
  const [foundText, expectedText] = [found, expected].map((value) => JSON.stringify(value) ?? 'undefined');
  demand(foundText === expectedText, `${what}: ${foundText}, expected ${expectedText}`);
}

async function randomWorkloads(options: CoordinationStoreConformanceOptions, nrWorkloads: number): Promise<void> {
  for (let seed = 1; seed <= nrWorkloads; seed++) await randomWorkload(options, seed);
}

const NODES = ['a', 'b', 'c'] as const;

/** One request at a time, so that what has to be answered is known. */
async function randomWorkload(options: CoordinationStoreConformanceOptions, seed: number): Promise<void> {
  const random = seededRandom(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const { store, join, fail, cleanRegions } = await clusterOf(options);
  const model = new ClusterState({ nrRegions: NR_REGIONS });
  const sessions = new Map<string, CoordinationSession>();
  const enter = async (node: string): Promise<CoordinationSession> => {
    const session = await join(node);
    sessions.set(node, session);
    model.join(node);
    model.startCopying(node);
    return session;
  };
  for (let step = 0; step < 120; step++) {
    const node = NODES[below(NODES.length)] as string;
    const session = sessions.get(node) ?? (await enter(node));
    const regionNr = below(NR_REGIONS);
    const what = `seed ${seed}, step ${step} (${store.name}, node ${node}, region ${regionNr})`;
    const chosen = below(20);
    if (chosen < 7) {
      const changes = Array.from({ length: 1 + below(3) }, () =>
        random() < 0.5
          ? { op: 'clear' as const, regionNr: below(NR_REGIONS) }
          : { op: 'mark' as const, regionNr: below(NR_REGIONS), onlyInSync: random() < 0.3 },
      );
      demandSame(`${what}: update`, await session.update(changes), model.update(node, changes));
    } else if (chosen < 12) {
      const work = await session.nextResyncWork();
      demandSame(`${what}: work`, work, model.nextResyncWork(node));
      if (work === undefined || random() < 0.3) continue;
      const inSync = random() < 0.8;
      await session.setRegionSync(work, inSync);
      model.setRegionSync(node, work, inSync);
    } else if (chosen < 14) {
      await session.setRegionSync(regionNr, false);
      model.setRegionSync(node, regionNr, false);
    } else if (chosen < 16) {
      demandSame(`${what}: in sync`, await session.isInSync(regionNr), model.isInSync(regionNr));
      demandSame(`${what}: regions in sync`, session.syncCount, model.syncCount);
    } else if (chosen < 17) {
      await session.searchAgain();
      model.searchAgain();
    } else if (chosen < 18) {
      await fail(node);
      model.remove(node);
      sessions.delete(node);
    } else {
      const isBeingCopied = ![undefined, node].includes(model.recoveringNode(regionNr));
      demandSame(`${what}: recovering`, await session.isRecovering(regionNr), isBeingCopied);
    }
    model.check();
  }
  const clean = Array.from({ length: NR_REGIONS }, (_, nr) => nr).filter((nr) => model.isClean(nr));
  demandSame(`seed ${seed}: clean regions`, await cleanRegions(), clean);
}
