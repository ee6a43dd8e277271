import { describe, expect, it } from 'vitest';
import { RegionHash } from '../../region-hash/region-hash.js';
import { LogFailedError } from '../errors.js';
import { ClusterLog, type ClusterLogOptions } from './cluster-log.js';
import { MemoryCoordinationStore } from './memory-coordination-store.js';

const SIZES = { length: 16, regionSize: 2 };
const legsHold = async (): Promise<readonly number[]> => [];

function newStore(): MemoryCoordinationStore {
  return new MemoryCoordinationStore({ nrRegions: 8, name: 'store' });
}

async function node(store: MemoryCoordinationStore, nodeId: string, options: Partial<ClusterLogOptions> = {}) {
  const log = new ClusterLog(store, { ...SIZES, nodeId, ...options });
  const legs = { nrFlushes: 0, failed: [] as number[] };
  await log.resume(async () => {
    legs.nrFlushes++;
    return legs.failed;
  });
  const hash = new RegionHash<number>(log, { regionOf: (regionNr) => regionNr });
  return { log, hash, legs };
}

async function copyNext({ hash }: Awaited<ReturnType<typeof node>>): Promise<number | undefined> {
  await hash.prepareRecovery();
  const regionNr = hash.takeQuiesced();
  if (regionNr === undefined) return undefined;
  hash.recoveryDone(regionNr, true);
  await hash.update();
  return regionNr;
}

describe("a cluster's log", () => {
  it('has made a mark known to all nodes when its flush has resolved', async () => {
    const store = newStore();
    const [a, b] = [await node(store, 'a'), await node(store, 'b')];
    b.log.mark(0);
    await b.log.flush();
    expect(b.log.markOutcome(0)).toBe('not in sync');
    expect(await copyNext(a)).toBe(1); // not 0, to which b is writing
  });

  it('flushes all legs before a clear is told, and not for marks', async () => {
    const store = newStore();
    const a = await node(store, 'a');
    await copyNext(a);
    expect([a.legs.nrFlushes, store.state.isClean(0)]).toEqual([1, true]);
    await a.hash.admitWrites([0]);
    expect([a.legs.nrFlushes, store.state.isClean(0)]).toEqual([1, false]);
    a.hash.writeEnded(0);
    await a.hash.update();
    expect([a.legs.nrFlushes, store.state.isClean(0)]).toEqual([2, true]);
    await a.log.flush();
    expect(a.legs.nrFlushes).toBe(2);
  });

  it('does not believe yesterday: a write to a region that another node has copied meanwhile goes to all legs', async () => {
    const store = newStore();
    const [a, b] = [await node(store, 'a'), await node(store, 'b')];
    expect((await b.hash.admitWrites([0])).toDefaultLeg).toEqual([0]);
    b.hash.writeEnded(0);
    await b.hash.update();
    expect(await copyNext(a)).toBe(0);
    expect((await b.hash.admitWrites([0])).toAllLegs).toEqual([0]);
  });

  it('knows what its own copying has changed under a mark that lasts', async () => {
    const store = newStore();
    const a = await node(store, 'a');
    await a.hash.admitWrites([0]);
    await a.hash.prepareRecovery();
    a.hash.writeEnded(0);
    const regionNr = a.hash.takeQuiesced() as number;
    a.hash.recoveryDone(regionNr, true);
    await a.hash.update({ keepIdle: true }); // the mark stays
    expect((await a.hash.admitWrites([0])).toAllLegs).toEqual([0]);
    await a.hash.markNosync(0);
    expect((await a.hash.admitWrites([0])).toDefaultLeg).toEqual([0]);
  });

  it('makes a write wait while another node copies its region', async () => {
    const store = newStore();
    const [a, b] = [await node(store, 'a'), await node(store, 'b')];
    await a.hash.prepareRecovery();
    expect(await b.log.isRemoteRecovering(0)).toBe(true);
    expect(await b.hash.admitWrites([0, 1])).toMatchObject({ toAllLegs: [], toDefaultLeg: [1], later: [0] });
    a.hash.takeQuiesced();
    a.hash.recoveryDone(0, true);
    await a.hash.update();
    expect(await b.log.isRemoteRecovering(0)).toBe(false);
    expect((await b.hash.admitWrites([0])).toAllLegs).toEqual([0]);
  });

  it("keeps the kernel's rule when asked to: writes wait for every region that is not in sync, and have it copied first", async () => {
    const store = newStore();
    const [a, b] = [await node(store, 'a'), await node(store, 'b', { delayUnsynced: true })];
    expect([await b.log.isRemoteRecovering(5), await a.log.isRemoteRecovering(5)]).toEqual([true, false]);
    expect((await b.hash.admitWrites([5])).later).toEqual([5]);
    expect(await copyNext(a)).toBe(5);
    expect((await b.hash.admitWrites([5])).toAllLegs).toEqual([5]);
  });

  it('takes back a clear that has not been told when the region is marked again', async () => {
    const store = newStore();
    const a = await node(store, 'a');
    await copyNext(a);
    a.log.mark(0);
    await a.log.flush();
    const { nrFlushes } = a.legs;
    a.log.clear(0);
    a.log.mark(0);
    expect(a.log.markOutcome(0)).toBe('in sync');
    await a.log.flush();
    expect([a.legs.nrFlushes - nrFlushes, store.state.isClean(0)]).toEqual([0, false]);
  });

  it('lets nothing become clean once a leg has lost a flush', async () => {
    const store = newStore();
    const [a, b] = [await node(store, 'a'), await node(store, 'b')];
    await copyNext(a);
    a.legs.failed = [1];
    await copyNext(a);
    expect(store.state.cleanBits).toEqual(Uint8Array.of(0b1));
    expect(a.log.status().hasLostLegFlush).toBe(true);
    await copyNext(b);
    expect(store.state.cleanBits).toEqual(Uint8Array.of(0b1));
    await a.log.trustLegFlushes();
    await copyNext(b);
    expect(store.state.cleanBits).toEqual(Uint8Array.of(0b1001));
  });

  it('of a node that counts as failed refuses everything, until the node joins again', async () => {
    const store = newStore();
    const [a, b] = [await node(store, 'a'), await node(store, 'b')];
    await copyNext(a);
    expect((await b.hash.admitWrites([0])).toAllLegs).toEqual([0]);
    store.fail('b');
    const admitted = await b.hash.admitWrites([0, 1]);
    expect(admitted).toMatchObject({ toAllLegs: [], toDefaultLeg: [], later: [0, 1] });
    expect(admitted.logFailure).toBeInstanceOf(LogFailedError);
    expect(admitted.logFailure?.message).toBe(
      'node b cannot write to the mirror any more: node b is no member of store any more: it has left, was declared failed, ' +
        'or has joined again. It has to stop, and to resume',
    );
    expect(b.log.status().health).toBe('D');
    await expect(b.hash.prepareRecovery()).rejects.toThrow(LogFailedError);
    expect(await a.log.queryInSync(0)).toBe(false); // b had a write under way
    await b.log.resume(legsHold);
    expect([b.log.status().health, (await b.hash.admitWrites([1])).toDefaultLeg]).toEqual(['A', [1]]);
  });

  it('hands out nothing after presuspend, and leaves in order', async () => {
    const store = newStore();
    const [a, b] = [await node(store, 'a'), await node(store, 'b')];
    await a.log.presuspend();
    expect(await a.log.nextResyncWork()).toBeUndefined();
    await a.log.postsuspend();
    await a.log.close();
    expect(store.state.isMember('a')).toBe(false);
    await expect(a.log.resume(legsHold)).rejects.toThrow('the log of node a in store is closed');
    expect(await copyNext(b)).toBe(0);
  });

  it('prints table and status lines as the kernel does', async () => {
    const { log } = await node(newStore(), 'a');
    expect([log.statusText(), log.tableText()]).toEqual(['1 clustered-core', 'userspace 3 store clustered-core 2']);
    expect(log.isClean()).toBe(false);
  });
});
